"""Settings: by keyword, by environment (`SCHEDULER_…`) or in `scheduler.toml`, in this order of precedence.

Frozen once read; relations between values are checked here, so that nothing later has to.
"""

from __future__ import annotations

import difflib
import os
import sys
import sysconfig
import warnings
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from scheduler_core.domain.alerts.webhook import parse_secrets
from scheduler_core.domain.clock import CLOCK_JUMP_LIMIT_SECONDS
from scheduler_core.domain.election.trust import RedisOutage, Timing
from scheduler_core.domain.errors import InvalidScheduleError, InvalidSettingsError
from scheduler_core.domain.runs.ticket import LOCAL
from scheduler_core.domain.schedule.zone import check_timezone

CONFIG_FILE = "scheduler.toml"

OVERDUE_SECONDS = 10.0
"""How late a job is that is overdue, where no setting says."""

with warnings.catch_warnings():
    # Users know the setting as `schema`; pydantic minds that BaseModel once had a method of that name.
    warnings.simplefilter("ignore", UserWarning)

    class Settings(BaseSettings):
        """Everything that can be set: docs/configuration.md says more of each.

        Durations are seconds. No URL given: the embedded servers, kept in `data_dir`.

        Attributes:
            database_url: `postgresql://user:password@host:5432/database`. None: the embedded Postgres.
            control_database_url: A direct address of the same database, where `database_url` is a transaction pooler.
                None: `database_url`.
            redis_url: `redis://user:password@host:6379/0`. None: the embedded Redis.
            data_dir: Where the embedded servers keep their data. None: `.scheduler`.
            schema: One schema is one scheduler; a plain name of at most 40 characters. The views live in
                `{schema}_audit`.
            instance_name: For people; identity is unique per process start anyway. None: the host's name.
            eligible: False: never leads.
            lease_ttl: Seconds until a silent leader is given up, 0.2 to 3,600.
            stall_timeout: Seconds without progress of the scheduler's loop until it stops renewing; at least
                `lease_ttl`.
            redis_outage: What holds while Redis is away. `hold`: Postgres alone does. `stop`: no lease, no fires.
            timezone: The IANA name for jobs that name none. None: the host's.
            app: The module that declares the jobs, imported by `scheduler run` and by workers.
            application: The program's name, 1 to 200 characters, which keeps programs apart that share a schema. None:
                `app`, else the script.
            callbacks: Which functions jobs of this program's code may name. `application`: any of its own modules.
                `registered`: only what is declared, marked or allowed.
            default_executor: Where callbacks of jobs are called that name no executor.
            executes: False: takes no runs that are offered to all replicas.
            max_concurrent_runs: Callbacks executing at once in one replica, and as many of each other executor; 1 to
                10,000.
            process_workers: Processes of the executor `process`, 1 to 1,000. None: the number of cores.
            dask_address: The Dask scheduler of the executor `dask`, as `tcp://host:8786`; `local` for a cluster of the
                replica's own.
            drain_timeout: Seconds that a stop waits for running work, 0 to a day.
            allowed_callbacks: Modules whose own functions rows in the database may name, as `myapp.jobs`.
            history_days: Days after which the run history is dropped, 1 to 36,500; its sums stay.
            clock_jump_limit: Seconds; a further jump of Postgres's clock stops planning. 0: none does.
            auto_migrate: Whether `start` brings the schema to head. False: it only checks that it works with it.
            log_format: `text` or `json`, of the processes that `scheduler run` starts.
            log_level: The least level that they write.
            traces: Whether `scheduler run` sends OpenTelemetry traces.
            metrics_host: The address at which `scheduler run` serves `/metrics` and the probes.
            metrics_port: 1 to 65,535. None: it serves none.
            alarm_interval: Seconds between two looks for alarms, over all replicas; 0.1 to 3,600.
            overdue_after: Seconds late at which a job is overdue, 0.5 to a day and at least `lease_ttl`. None: 10, or
                `lease_ttl` where that is longer.
            webhook_url: Where notifications go, `http://` or `https://`. None: nowhere. Needs the extra `webhooks`.
            webhook_secret: What they are signed with; set together with `webhook_url`, or not at all.
            webhook_timeout: Seconds that an attempt to deliver a notification may take, 0.1 to 60.
            api_host: The address at which the API is served.
            api_port: 0 is any free port. None: the API is not served.
            api_trusted_proxies: Addresses whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
        """

        model_config = SettingsConfigDict(
            env_prefix="SCHEDULER_",
            toml_file=CONFIG_FILE,
            frozen=True,
            extra="forbid",
            env_ignore_empty=True,
        )

        database_url: str | None = Field(default=None, repr=False)
        control_database_url: str | None = Field(default=None, repr=False)
        redis_url: str | None = Field(default=None, repr=False)
        data_dir: Path | None = None
        schema: str = "scheduler"  # type: ignore[assignment]
        instance_name: str | None = None
        eligible: bool = True
        lease_ttl: float = 3.0
        stall_timeout: float = 10.0
        redis_outage: RedisOutage = RedisOutage.HOLD
        timezone: str | None = None
        app: str | None = None
        application: str | None = Field(default=None, min_length=1, max_length=200)
        callbacks: Literal["application", "registered"] = "application"
        default_executor: str = LOCAL
        executes: bool = True
        max_concurrent_runs: int = Field(default=100, ge=1, le=10_000)
        process_workers: int | None = Field(default=None, ge=1, le=1_000)
        dask_address: str | None = Field(default=None, repr=False)
        drain_timeout: float = Field(default=30.0, ge=0, le=86_400)
        allowed_callbacks: tuple[str, ...] = ()
        history_days: int = Field(default=30, ge=1, le=36_500)
        clock_jump_limit: float = Field(default=CLOCK_JUMP_LIMIT_SECONDS, ge=0, le=31_536_000)
        auto_migrate: bool = True
        log_format: Literal["text", "json"] = "text"
        log_level: str = "INFO"
        traces: bool = False
        metrics_host: str = "127.0.0.1"
        metrics_port: int | None = Field(default=None, ge=1, le=65_535)
        alarm_interval: float = Field(default=5.0, ge=0.1, le=3_600)
        overdue_after: float | None = Field(default=None, ge=0.5, le=86_400)
        webhook_url: str | None = Field(default=None, repr=False)
        webhook_secret: str | None = Field(default=None, repr=False)
        webhook_timeout: float = Field(default=10.0, ge=0.1, le=60)
        api_host: str = "127.0.0.1"
        api_port: int | None = Field(default=None, ge=0, le=65_535)
        api_trusted_proxies: tuple[str, ...] = ()

        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            """Keyword, then environment, then file."""
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)

        @field_validator("redis_outage", "log_format", "callbacks", mode="before")
        @classmethod
        def _in_any_case(cls, word: Any) -> Any:
            return word.strip().lower() if isinstance(word, str) else word

        @field_validator("timezone")
        @classmethod
        def _known_zone(cls, zone: str | None) -> str | None:
            if zone is not None:
                try:
                    check_timezone(zone)
                except InvalidScheduleError as error:
                    raise ValueError(str(error)) from None
            return zone

        @field_validator("webhook_url")
        @classmethod
        def _a_web_address(cls, url: str | None) -> str | None:
            if url is not None:
                try:
                    parts = urlsplit(url)
                    fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
                except ValueError:
                    fits = False
                if not fits or not url.isprintable() or " " in url:
                    raise ValueError("webhook_url is no web address: write https://host/path")
            return url

        @field_validator("schema")
        @classmethod
        def _plain_schema(cls, name: str) -> str:
            plain = name.replace("_", "a")
            if not (plain.isascii() and plain.isalnum() and plain == plain.lower() and not plain[0].isdigit()):
                raise ValueError(f"{name!r} is not a plain name: use a-z, 0-9 and _, starting with a letter")
            if len(name) > 40:
                raise ValueError("at most 40 characters")
            return name

        @model_validator(mode="after")
        def _related(self) -> Self:
            if self.control_database_url is not None and self.database_url is None:
                raise ValueError("control_database_url without database_url: set both, or none")
            _ = self.timing
            if self.overdue_after is not None and self.overdue_after < self.lease_ttl:
                raise ValueError(
                    f"overdue_after ({self.overdue_after:g} s) is below lease_ttl ({self.lease_ttl:g} s): every "
                    "leader that hangs would be an alarm before anybody could take over"
                )
            if (self.webhook_url is None) != (self.webhook_secret is None):
                raise ValueError(
                    "webhook_url and webhook_secret go together: what is sent is signed; set both, or none"
                )
            _ = self.webhook_keys
            return self

        @property
        def webhook_keys(self) -> tuple[bytes, ...]:
            """The keys that notifications are signed with; none without a webhook."""
            return () if self.webhook_secret is None else parse_secrets(self.webhook_secret)

        @property
        def overdue_seconds(self) -> float:
            """How many seconds late a job is that is overdue.

            Never sooner than a leader that hangs is replaced at the latest.
            """
            return max(OVERDUE_SECONDS, self.lease_ttl) if self.overdue_after is None else self.overdue_after

        @property
        def timing(self) -> Timing:
            """The election's timings."""
            return Timing(self.lease_ttl, self.stall_timeout)

        @property
        def default_timezone(self) -> str:
            """The zone of jobs that name none: the setting, else the host's.

            Raises:
                InvalidSettingsError: The host's can't be told.
            """
            if self.timezone is not None:
                return self.timezone
            # Looked for where it is needed: jobs may all name theirs.
            from scheduler_core.runtime.host_zone import host_zone

            found = host_zone()
            if found.name is None:
                raise InvalidSettingsError(f"the time zone of this host can't be told: {found.problem}")
            return found.name

        @property
        def application_name(self) -> str:
            """Whose jobs this process calls: the setting, else the module `app`, else the script."""
            return self.application or self.app or script_name()


def load_settings(**given: Any) -> Settings:
    """Read the settings; a keyword wins over the environment, that over `scheduler.toml`.

    Args:
        **given: Settings by name; see `Settings`.

    Returns:
        The settings, frozen.

    Raises:
        InvalidSettingsError: A setting is wrong, or there is none of that name. The message names each that is wrong,
            and shows no value of a URL.
    """
    unknown = [name for name in given if name not in Settings.model_fields]
    unknown += [
        name.removeprefix("SCHEDULER_").lower()
        for name in os.environ
        if name.startswith("SCHEDULER_")
        and name.removeprefix("SCHEDULER_").lower() not in {*Settings.model_fields, *OTHER_VARIABLES}
    ]
    if unknown:
        close = difflib.get_close_matches(unknown[0], Settings.model_fields, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InvalidSettingsError(f"there is no setting {unknown[0]!r}{hint}")
    try:
        return Settings(**given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'settings'}: "
            f"{problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors(include_url=False, include_input=False)
        )
        raise InvalidSettingsError(f"settings: {problems}") from None
    except InvalidSettingsError:
        raise
    except (SettingsError, ValueError, OSError) as error:
        raise InvalidSettingsError(f"{CONFIG_FILE} or the environment can't be read: {error}") from None


OTHER_VARIABLES = frozenset({"postgres_bin", "redis_bin", "drill", "drill_skew_seconds", "measure"})
"""Environment variables of ours that are no settings."""


def script_name() -> str:
    """The name of the program that this process runs: its module or its script."""
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    if file is None:
        return "interactive"
    script = Path(file).absolute()
    # A launcher (uvicorn, gunicorn) stands elsewhere in each environment.
    if script.parent.resolve() == Path(sysconfig.get_path("scripts")).resolve():
        return script.name
    return str(_as_it_was_called(script))


def _as_it_was_called(script: Path) -> Path:
    """By the link that each deployment sets anew (`current`), not by where it leads to this time (capistrano).

    Python names a script that was given without its folder by the folder's real path; the shell says how it came there.
    """
    real, shells = Path.cwd(), Path(os.environ.get("PWD", ""))
    if not shells.is_absolute() or not script.is_relative_to(real):
        return script
    return shells / script.relative_to(real) if shells.resolve() == real else script
