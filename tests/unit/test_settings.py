"""Settings: read once from the environment, checked against each other, silent about secrets."""

import json
from pathlib import Path

import pytest

from config.broker import transport
from config.names import variables
from config.settings import Settings, SettingsError, read_settings
from jobs.accounts import key_name
from producers.stack.record import environment_of

SECRET = "CANARY-5e884898da28"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def with_variables(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return read_settings()


def test_with_nothing_set_nothing_real_is_meant() -> None:
    settings = read_settings()

    assert not settings.has_real_key
    assert not settings.has_real_storage
    assert not settings.has_real_redis


@pytest.mark.parametrize("value", [f'["{SECRET}", "other-key"]', f"{SECRET}, other-key"])
def test_keys_are_a_json_list_or_separated_by_commas(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    settings = with_variables(monkeypatch, RETOUCH_API__KEYS=value)

    assert [key.get_secret_value() for key in settings.api.all_keys()] == [SECRET, "other-key"]


def test_the_apis_own_variable_is_accepted_for_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_variables(monkeypatch, BFL_API_KEY=SECRET)

    assert [key.get_secret_value() for key in settings.api.all_keys()] == [SECRET]


def test_what_counts_as_a_refusal_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_variables(monkeypatch, RETOUCH_SUBMIT__REFUSED_STATUSES="400, 429, 502")

    assert settings.submit.refused_statuses == (400, 429, 502)


@pytest.mark.parametrize("value", ["200", "302", "600", "no"])
def test_only_an_http_error_can_be_a_refusal(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    with pytest.raises(SettingsError, match="REFUSED_STATUSES"):
        with_variables(monkeypatch, RETOUCH_SUBMIT__REFUSED_STATUSES=value)


def test_keys_of_a_file_are_read_a_line_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# rotated in May\n{SECRET}\n\nsecond\n{SECRET}\n")

    settings = with_variables(monkeypatch, RETOUCH_API__KEYS_FILE=str(tmp_path / "keys"))

    assert [key.get_secret_value() for key in settings.api.all_keys()] == [SECRET, "second"]


@pytest.mark.parametrize("value", ["0a1b2c3d=studio, ffffffff=main", '{"0a1b2c3d": "studio", "ffffffff": "main"}'])
def test_keys_belong_to_the_accounts_that_are_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    api = with_variables(monkeypatch, RETOUCH_API__ACCOUNTS=value).api

    assert api.account_names == ("main", "studio")
    assert [api.account_of(key) for key in ("0a1b2c3d", "ffffffff")] == ["studio", "main"]


def test_accounts_are_those_that_are_named_whatever_keys_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_variables(monkeypatch, RETOUCH_API__ACCOUNTS="0a1b2c3d=a,ffffffff=b", RETOUCH_API__KEYS=SECRET)

    assert settings.api.account_names == ("a", "b")


def test_all_keys_are_of_one_account_until_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    api = with_variables(monkeypatch, RETOUCH_API__KEYS=f"{SECRET},other-key").api

    assert api.account_names == ("main",)
    assert {api.account_of(key_name(key.get_secret_value())) for key in api.all_keys()} == {"main"}


def test_a_key_that_is_not_named_is_of_the_only_account_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_variables(monkeypatch, RETOUCH_API__ACCOUNTS="0a1b2c3d=shop").api.account_of("ffffffff") == "shop"


def test_nobody_can_know_which_of_several_accounts_a_key_is_of(monkeypatch: pytest.MonkeyPatch) -> None:
    api = with_variables(monkeypatch, RETOUCH_API__ACCOUNTS="0a1b2c3d=main,1a1b2c3d=studio").api

    assert api.account_of("ffffffff") == ""


@pytest.mark.parametrize(
    "value",
    ["studio", f"{SECRET}=studio", "0a1b2c3d=", f"0a1b2c3d={SECRET}", "0a1b2c3d=My Studio", "0a1b2c3d=a:b", "{"],
)
def test_an_account_that_cannot_be_read_is_refused_without_showing_a_key(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    with pytest.raises(SettingsError, match="RETOUCH_API__ACCOUNTS") as raised:
        with_variables(monkeypatch, RETOUCH_API__ACCOUNTS=value)

    assert SECRET not in str(raised.value)


def test_a_keys_file_of_a_windows_editor_is_read_like_any_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_bytes("\ufeffbfl-one\r\nbfl-two\r\n".encode())

    settings = with_variables(monkeypatch, RETOUCH_API__KEYS_FILE=str(tmp_path / "keys"))

    assert [key.get_secret_value() for key in settings.api.all_keys()] == ["bfl-one", "bfl-two"]


@pytest.mark.parametrize("key", ["bfl\u2011one", "bfl one", "kéy"])
def test_what_can_be_no_key_is_refused_with_its_place_and_without_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    (tmp_path / "keys").write_text(f"bfl-good\n{key}\n", encoding="utf-8")
    settings = with_variables(monkeypatch, RETOUCH_API__KEYS_FILE=str(tmp_path / "keys"))

    with pytest.raises(SettingsError, match="RETOUCH_API__KEYS_FILE, line 2: the key holds a character") as raised:
        settings.api.all_keys()

    assert key not in str(raised.value)


def test_a_keys_file_that_cannot_be_read_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_variables(monkeypatch, RETOUCH_API__KEYS_FILE="/nowhere/keys")

    with pytest.raises(SettingsError, match="RETOUCH_API__KEYS_FILE cannot be read"):
        settings.api.all_keys()


def test_no_secret_shows_itself_in_any_form_of_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_variables(
        monkeypatch,
        RETOUCH_API__KEYS=SECRET,
        RETOUCH_REDIS__URL=f"redis://:{SECRET}@127.0.0.1/0",
        RETOUCH_S3__BUCKET="b",
        RETOUCH_S3__ACCESS_KEY_ID=SECRET,
        RETOUCH_S3__SECRET_ACCESS_KEY=SECRET,
    )

    shown = f"{settings!r} {settings} {settings.model_dump_json()} {settings.model_dump()}"

    assert SECRET not in shown


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"RETOUCH_S3__ENDPOINT_URL": "http://s3"}, "RETOUCH_S3__BUCKET"),
        ({"RETOUCH_S3__ACCESS_KEY_ID": SECRET}, "RETOUCH_S3__SECRET_ACCESS_KEY"),
        ({"RETOUCH_API__BASE_URL": "api.bfl.ai"}, "RETOUCH_API__BASE_URL"),
        ({"RETOUCH_API__BASE_URL": f"https://user:{SECRET}@api.bfl.ai"}, "RETOUCH_API__BASE_URL"),
        ({"RETOUCH_API__ACTIVE_LIMIT": "0"}, "RETOUCH_API__ACTIVE_LIMIT"),
        ({"RETOUCH_S3__PREFIX": "/x"}, "RETOUCH_S3__PREFIX"),
        ({"RETOUCH_S3__CHECKSUMS": "never"}, "RETOUCH_S3__CHECKSUMS"),
        ({"RETOUCH_WORKER__CONCURRENCY": SECRET}, "RETOUCH_WORKER__CONCURRENCY"),
        ({"RETOUCH_API__KEYS": f'["{SECRET}'}, "RETOUCH_API__KEYS"),
        ({"RETOUCH_SUBMIT__DOUBT_WAIT_S": "-1"}, "RETOUCH_SUBMIT__DOUBT_WAIT_S"),
        ({"RETOUCH_REDIS__URL": f"127.0.0.1:{SECRET}"}, "RETOUCH_REDIS__URL"),
        ({"RETOUCH_MONEY__DAY_CAP_USD": "inf"}, "RETOUCH_MONEY__DAY_CAP_USD"),
    ],
)
def test_a_mistake_names_its_variable_and_never_its_value(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], says: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        with_variables(monkeypatch, **variables)

    assert says in str(raised.value)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize(
    "name",
    [
        "RETOUCH_MONEY_DAY_CAP_USD",
        "RETOUCH_MONY__DAY_CAP_USD",
        "RETOUCH_MONEY__DAYCAP_USD",
        "retouch_money__day_cap_usdd",
    ],
)
def test_a_cap_whose_name_is_misspelt_is_not_left_out_in_silence(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(SettingsError, match="did you mean RETOUCH_MONEY__DAY_CAP_USD"):
        with_variables(monkeypatch, **{name: "0.01"})


def test_a_misspelt_name_in_the_file_of_settings_is_found_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("RETOUCH_MONEY_DAY_CAP_USD=0.01\n")

    with pytest.raises(SettingsError, match="there is no setting RETOUCH_MONEY_DAY_CAP_USD"):
        read_settings()


@pytest.mark.parametrize("name", ["RETOUCH_COLOURS__OF_THE_RAINBOW", "RETOUCH_PORTRAITS__OF_ALL", "RETOUCH_A_PORT__OF"])
def test_a_name_that_resembles_nothing_is_an_error_where_it_is_written_as_a_setting(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with pytest.raises(SettingsError, match=f"there is no setting {name}$"):
        with_variables(monkeypatch, **{name: "7"})


@pytest.mark.parametrize(
    "name",
    [
        "RETOUCH_DEBUG",
        "RETOUCH_IMAGE_TAG",
        "RETOUCH_REDIS_SERVICE_HOST",
        "RETOUCH_REDIS_PORT_6379_TCP_ADDR",
        "RETOUCH_S3_PORT",
    ],
)
def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert with_variables(monkeypatch, **{name: "tcp://10.0.0.1:6379"}) == Settings()


def test_a_section_may_be_given_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_variables(monkeypatch, RETOUCH_MONEY='{"day_cap_usd": 5}')

    assert settings.money.day_cap_usd == 5


def test_every_setting_says_what_it_is_for() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text(encoding="utf-8")

    shown = [variable for _, _, variable in variables(Settings) if f"| `{variable}` | " in page]
    assert [variable for _, _, variable in variables(Settings) if variable not in shown] == ["RETOUCH_TEST__CRASH_AT"]


def test_settings_cannot_be_changed_after_they_were_read() -> None:
    settings = read_settings()

    with pytest.raises(ValueError, match="frozen"):
        settings.api.base_url = "https://elsewhere"


@pytest.mark.parametrize(
    ("base_url", "origin"),
    [
        ("https://api.bfl.ai", "bfl"),
        ("https://api.eu.bfl.ai", "bfl"),
        ("http://127.0.0.1:8787", "127.0.0.1:8787"),
        ("https://api.bfl.ai.example.com", "api.bfl.ai.example.com"),
    ],
)
def test_results_of_another_host_are_filed_under_that_hosts_name(
    monkeypatch: pytest.MonkeyPatch, base_url: str, origin: str
) -> None:
    assert with_variables(monkeypatch, RETOUCH_API__BASE_URL=base_url).api.origin == origin


def test_a_prefix_always_ends_with_a_slash(monkeypatch: pytest.MonkeyPatch) -> None:
    assert with_variables(monkeypatch, RETOUCH_S3__PREFIX="mine").s3.prefix == "mine/"


def test_messages_travel_as_json_only_under_a_prefix_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    found = transport(with_variables(monkeypatch, RETOUCH_REDIS__URL="redis://127.0.0.1/0"))

    assert found["accept_content"] == ["json"]
    assert found["broker_transport_options"]["global_keyprefix"] == "retouch:celery:"
    assert found["broker_transport_options"]["socket_timeout"] is not None


def test_without_a_redis_the_error_says_what_to_set() -> None:
    with pytest.raises(SettingsError, match="RETOUCH_REDIS__URL"):
        transport(read_settings())


def test_a_key_is_not_written_out_by_accident(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_variables(monkeypatch, RETOUCH_API__KEYS=SECRET)

    with pytest.raises(TypeError):
        json.dumps(settings.api.keys)
    assert SECRET not in str(settings.api.keys[0])


# -- secrets in files


def secret_file(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_secrets_of_redis_and_storage_are_read_from_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = with_variables(
        monkeypatch,
        RETOUCH_REDIS__URL_FILE=secret_file(tmp_path, "url", f"redis://:{SECRET}@redis:6379/0\n"),
        RETOUCH_S3__BUCKET="b",
        RETOUCH_S3__ACCESS_KEY_ID_FILE=secret_file(tmp_path, "id", "me\n"),
        RETOUCH_S3__SECRET_ACCESS_KEY_FILE=secret_file(tmp_path, "secret", SECRET),
    )

    assert settings.redis.url is not None
    assert settings.redis.url.get_secret_value() == f"redis://:{SECRET}@redis:6379/0"
    assert settings.s3.access_key_id is not None
    assert settings.s3.access_key_id.get_secret_value() == "me"
    assert settings.s3.secret_access_key is not None
    assert settings.s3.secret_access_key.get_secret_value() == SECRET


def test_a_variable_wins_over_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = with_variables(
        monkeypatch, RETOUCH_REDIS__URL="redis://one/0", RETOUCH_REDIS__URL_FILE="/nowhere/redis-url"
    )

    assert settings.redis.url is not None
    assert settings.redis.url.get_secret_value() == "redis://one/0"


@pytest.mark.parametrize(
    ("url", "becomes"),
    [
        ("redis://redis:6379/0", "redis://:p%40ss%2Fword@redis:6379/0"),
        ("rediss://retouch@redis:6379/0", "rediss://retouch:p%40ss%2Fword@redis:6379/0"),
        ("redis://:own@redis:6379/0", "redis://:own@redis:6379/0"),
    ],
)
def test_a_password_in_a_file_goes_into_a_url_that_carries_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, becomes: str
) -> None:
    settings = with_variables(
        monkeypatch,
        RETOUCH_REDIS__URL=url,
        RETOUCH_REDIS__PASSWORD_FILE=secret_file(tmp_path, "password", "p@ss/word\n"),
    )

    assert settings.redis.url is not None
    assert settings.redis.url.get_secret_value() == becomes


@pytest.mark.parametrize("variable", ["RETOUCH_REDIS__URL_FILE", "RETOUCH_S3__SECRET_ACCESS_KEY_FILE"])
@pytest.mark.parametrize("content", [None, "", b"\xff\xfe\x00"])
def test_a_secret_file_that_is_missing_or_holds_nothing_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, content: str | bytes | None
) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(SettingsError, match=variable):
        with_variables(monkeypatch, **{variable: str(path)})


def test_a_setting_that_a_file_gave_survives_being_handed_to_a_child(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = with_variables(
        monkeypatch,
        RETOUCH_REDIS__URL="redis://redis/0",
        RETOUCH_REDIS__PASSWORD_FILE=secret_file(tmp_path, "password", SECRET),
    )
    handed = environment_of(settings)
    (tmp_path / "password").unlink()

    child = with_variables(monkeypatch, **{k: v for k, v in handed.items() if k.startswith("RETOUCH_")})

    assert child.redis.url == settings.redis.url
