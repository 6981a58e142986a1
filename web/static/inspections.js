// Looking closely at a part: opacity of its map, boxes, zoom and pan in step over the image and its overlay.
// Both drawings show the same cut of the part, which is their viewBox.

const CLOSEST = 32;
const PIXELS_FROM = 6; // times: from here on the image's pixels are shown as squares
const STEP = 1.3;
const KEPT = "pyramidion.map-opacity";

class Viewer {
  constructor(root) {
    this.root = root;
    this.width = Number(root.dataset.width);
    this.height = Number(root.dataset.height);
    this.stages = [...root.querySelectorAll(".stage")];
    this.zoom = 1;
    this.x = this.width / 2; // the middle of the cut, in pixels of the upright image
    this.y = this.height / 2;
    this.fingers = new Map();
    this.isFull = false;
    this.said = root.querySelector("#zoom");
    root.classList.add("live");
    root.querySelector(".tools").hidden = false;
    for (const stage of this.stages) this.listen(stage);
    root.querySelector("#closer").addEventListener("click", () => this.scale(STEP));
    root.querySelector("#farther").addEventListener("click", () => this.scale(1 / STEP));
    root.querySelector("#whole").addEventListener("click", () => this.show(1, this.width / 2, this.height / 2));
    document.addEventListener("keydown", (event) => this.key(event));
    this.map();
  }

  map() {
    const slider = this.root.querySelector("#opacity");
    const heat = this.root.querySelector(".heat");
    if (slider && heat) {
      const apply = () => {
        heat.setAttribute("opacity", slider.value / 100);
        this.root.querySelector("#opacity-said").value = `${slider.value} %`;
      };
      slider.value = localStorage.getItem(KEPT) ?? slider.value;
      slider.addEventListener("input", () => {
        localStorage.setItem(KEPT, slider.value);
        apply();
      });
      apply();
    }
    const boxes = this.root.querySelector("#boxes");
    boxes?.addEventListener("change", () => {
      this.root.querySelector(".boxes").toggleAttribute("hidden", !boxes.checked);
    });
  }

  listen(stage) {
    stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.scale(STEP ** (-Math.sign(event.deltaY)), this.place(stage, event));
    }, { passive: false });
    stage.addEventListener("dblclick", (event) => this.scale(2, this.place(stage, event)));
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      stage.setPointerCapture(event.pointerId);
      this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    });
    stage.addEventListener("pointermove", (event) => this.move(stage, event));
    for (const end of ["pointerup", "pointercancel"]) {
      stage.addEventListener(end, (event) => this.fingers.delete(event.pointerId));
    }
  }

  move(stage, event) {
    const before = this.fingers.get(event.pointerId);
    if (!before) return;
    const now = [event.clientX, event.clientY];
    const other = [...this.fingers].find(([id]) => id !== event.pointerId)?.[1];
    this.fingers.set(event.pointerId, now);
    if (other) {
      const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
      const middle = { clientX: (now[0] + other[0]) / 2, clientY: (now[1] + other[1]) / 2 };
      this.scale(apart(now) / Math.max(1, apart(before)), this.place(stage, middle));
    } else {
      const pixel = 1 / stage.getScreenCTM().a;
      this.show(this.zoom, this.x - (now[0] - before[0]) * pixel, this.y - (now[1] - before[1]) * pixel);
    }
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    const far = this.width / this.zoom / 8;
    const moves = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] };
    if (event.key === "+" || event.key === "=") this.scale(STEP);
    else if (event.key === "-") this.scale(1 / STEP);
    else if (event.key === "0") this.show(1, this.width / 2, this.height / 2);
    else if (moves[event.key] && this.root.contains(event.target)) {
      this.show(this.zoom, this.x + moves[event.key][0], this.y + moves[event.key][1]);
    } else return;
    event.preventDefault();
  }

  // Where on the part a pointer is, in pixels of the upright image.
  place(stage, event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(stage.getScreenCTM().inverse());
    return [at.x, at.y];
  }

  // Zoom by a factor; what lies at `place` stays where it is.
  scale(factor, place = [this.x, this.y]) {
    const zoom = Math.min(CLOSEST, Math.max(1, this.zoom * factor));
    const share = this.zoom / zoom;
    this.show(zoom, place[0] + (this.x - place[0]) * share, place[1] + (this.y - place[1]) * share);
  }

  show(zoom, x, y) {
    const [width, height] = [this.width / zoom, this.height / zoom];
    this.zoom = zoom;
    this.x = Math.min(this.width - width / 2, Math.max(width / 2, x));
    this.y = Math.min(this.height - height / 2, Math.max(height / 2, y));
    const cut = `${this.x - width / 2} ${this.y - height / 2} ${width} ${height}`;
    for (const stage of this.stages) stage.setAttribute("viewBox", cut);
    for (const text of this.root.querySelectorAll(".boxes text")) {
      text.setAttribute("font-size", Number(this.root.dataset.label) / zoom);
    }
    this.said.value = `${zoom < 10 ? Math.round(zoom * 10) / 10 : Math.round(zoom)}×`;
    this.root.classList.toggle("closer", zoom > 1);
    this.root.classList.toggle("pixels", zoom >= PIXELS_FROM);
    if (zoom > 1.5) this.full();
  }

  // Every pixel of a large image, once somebody looks closely.
  full() {
    if (this.isFull || Math.max(this.width, this.height) <= 1280) return;
    this.isFull = true;
    const image = new Image();
    image.addEventListener("load", () => {
      for (const part of this.root.querySelectorAll(".photo")) part.setAttribute("href", image.src);
    });
    image.src = this.root.dataset.full;
  }
}

const root = document.getElementById("viewer");
if (root) new Viewer(root);
