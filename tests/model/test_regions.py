import numpy as np

from model.regions import Region, find


def test_two_defects_give_two_boxes_in_image_pixels_highest_first() -> None:
    anomaly_map = np.zeros((10, 20), np.float32)
    anomaly_map[1:3, 2:5] = 2.0
    anomaly_map[6, 10:14] = 5.0
    first, second = find(anomaly_map, 1.0, width=200, height=50)  # 10 times as wide, 5 times as high
    assert first == Region(x=100, y=30, width=40, height=5, area=200.0, peak=5.0)
    assert second == Region(x=20, y=5, width=30, height=10, area=300.0, peak=2.0)


def test_pixels_that_touch_at_a_corner_are_one_defect() -> None:
    anomaly_map = np.eye(4, dtype=np.float32)
    (diagonal,) = find(anomaly_map, 0.5, width=4, height=4)
    assert (diagonal.width, diagonal.height, diagonal.area) == (4, 4, 4.0)


def test_below_the_threshold_the_peak_stands_alone() -> None:
    anomaly_map = np.zeros((4, 4), np.float32)
    anomaly_map[3, 1] = 0.4
    assert find(anomaly_map, 9.0, width=4, height=4) == [Region(1, 3, 1, 1, 1.0, np.float32(0.4).item())]


def test_boxes_stay_inside_an_image_smaller_than_the_map() -> None:
    anomaly_map = np.zeros((128, 128), np.float32)
    anomaly_map[127, 127] = 1
    anomaly_map[0, 0] = 2
    for region in find(anomaly_map, 0.5, width=37, height=53):
        assert 0 <= region.x < region.x + region.width <= 37
        assert 0 <= region.y < region.y + region.height <= 53


def test_a_noisy_map_gives_no_more_regions_than_asked() -> None:
    anomaly_map = np.zeros((64, 64), np.float32)
    anomaly_map[::3, ::3] = np.arange(22 * 22).reshape(22, 22) + 1
    found = find(anomaly_map, 0.5, width=64, height=64, limit=5)
    assert [region.peak for region in found] == [484.0, 483.0, 482.0, 481.0, 480.0]
