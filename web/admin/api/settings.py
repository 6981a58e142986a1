"""Settings, over the API: read only, and without secrets."""

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from db.settings_shown import variable
from web.access import Permission, needs
from web.admin.readouts import settings_of
from web.api import api_router

router = api_router("Settings")


class Setting(BaseModel):
    """A setting as the page's process read it when it started."""

    model_config = ConfigDict(from_attributes=True)

    group: str = Field(examples=["Page"])
    name: str = Field(examples=["web_port"])
    variable: str = Field(examples=["PYRAMIDION_WEB_PORT"])
    value: str = Field(description="What is in force, empty where unset; of a secret ***.", examples=["8000"])
    source: str = Field(
        description="environment, secret file, configuration file or default", examples=["default"]
    )
    default: str = Field(examples=["8000"])
    description: str


class Settings(BaseModel):
    """All settings that can be read, and by group what is wrong with the others."""

    settings: list[Setting]
    wrong: dict[str, str]


@router.get("/settings", dependencies=[needs(Permission.ADMIN)], summary="Settings in force")
def settings(request: Request) -> Settings:
    """Give the settings that were in force when the page was started; other processes have their own."""
    shown = settings_of(request)
    return Settings(
        settings=[Setting(**vars(one), variable=variable(one.name)) for one in shown.settings],
        wrong=shown.wrong,
    )
