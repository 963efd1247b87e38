"""References and names: what is a path, a name, a repository, a URL, and when two names mean one model."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vllama_core import modelref
from vllama_core.errors import ConfigError
from vllama_core.modelref import HubRef, ModelName, ModelRef


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("gemma3:270m-base", "gemma3:270m-base"),
        ("library/gemma3:4b", "gemma3:4b"),
        ("registry.ollama.ai/library/x:1", "x:1"),
        ("ollama.com/library/x:1", "x:1"),
        ("ollama.com/alice/model", "ollama.com/alice/model:latest"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B:latest"),
        ("hf.co/a/b", "a/b:latest"),
        ("https://huggingface.co/a/b", "a/b:latest"),
        ("hf.co/a/b:q4_k_m", "a/b:Q4_K_M"),
        ("a/b:Q4_K_M@refs/pr/1", "a/b:Q4_K_M@refs-pr-1"),
        ("a/b:sub/file.gguf", "a/b:sub-file.gguf"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
    ],
)
def test_names_are_shown_in_their_shortest_form(text: str, display: str) -> None:
    name = ModelName.parse(text)
    assert name is not None
    assert name.display == display
    assert ModelName.parse(display) == name


@pytest.mark.parametrize(
    "text",
    ["", " ", "a b", "a:", ":b", "/a", "a/", "a//b", "a/b/c/d", "../a", "a/../b", "-a", ".a", "a:b:c", "a\n", "é", "a@", "a@../b", "a:b/c"],
)
def test_what_is_no_name(text: str) -> None:
    assert ModelName.parse(text) is None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("gemma3", "GEMMA3"),
        ("gemma3", "gemma3:LATEST"),
        ("gemma3", "library/Gemma3"),
        ("gemma3", "registry.ollama.ai/library/gemma3"),
        ("gemma3", "ollama.com/library/gemma3"),
        ("a/b", "hf.co/A/B:latest"),
        ("a/b", "https://huggingface.co/a/b"),
        ("a/b:Q4_K_M", "huggingface.co/a/b:q4_k_m"),
    ],
)
def test_case_and_implied_parts_do_not_count(first: str, second: str) -> None:
    one, other = ModelName.parse(first), ModelName.parse(second)
    assert one is not None
    assert other is not None
    assert one.key == other.key


def test_the_hub_and_ollamas_registry_are_two_places() -> None:
    hub, registry = ModelName.parse("alice/model"), ModelName.parse("ollama.com/alice/model")
    assert hub is not None
    assert registry is not None
    assert hub.key != registry.key


@pytest.mark.parametrize("text", ["/models/a.gguf", "./a", "../a", "~/a", ".", "..", "a.gguf", "sub/A.GGUF", "/a/b:x.gguf"])
def test_paths_are_told_from_names(text: str) -> None:
    assert ModelRef.parse(text) == ModelRef(path=text)


@pytest.mark.parametrize(
    ("text", "hub"),
    [
        ("Qwen/Qwen3-8B", HubRef("Qwen/Qwen3-8B")),
        ("hf.co/a/b:latest", HubRef("a/b")),
        ("huggingface.co/a/b:q8_0", HubRef("a/b", quantization="Q8_0")),
        ("a/b:fp16@v1.0", HubRef("a/b", quantization="F16", revision="v1.0")),
        ("a/b@refs/pr/3", HubRef("a/b", revision="refs/pr/3")),
        ("a/b:UD-Q4_K_XL", HubRef("a/b", quantization="UD-Q4_K_XL")),
        ("hf.co/a/b:model-Q4.gguf", HubRef("a/b", file="model-Q4.gguf")),
        ("a/b:sub/m.gguf@main", HubRef("a/b", file="sub/m.gguf", revision="main")),
        ("https://huggingface.co/a/b", HubRef("a/b")),
        ("https://huggingface.co/a/b/tree/main", HubRef("a/b", revision="main")),
        ("https://huggingface.co/a/b/blob/main/m.gguf", HubRef("a/b", file="m.gguf", revision="main")),
        ("https://huggingface.co/a/b/resolve/main/sub/m.gguf?download=true", HubRef("a/b", file="sub/m.gguf", revision="main")),
    ],
)
def test_repositories_of_the_hub(text: str, hub: HubRef) -> None:
    assert ModelRef.parse(text).hub == hub


def test_a_registry_is_asked_outright_only_where_its_host_stands() -> None:
    assert ModelRef.parse("ollama.com/library/x:tag").registry
    assert ModelRef.parse("localhost:5000/a/b").registry
    assert not ModelRef.parse("x:tag").registry


def test_an_address_of_a_gguf_file_is_called_like_the_file() -> None:
    ref = ModelRef.parse("https://example.com/sub/My%20Model.Q8_0.gguf?version=1")
    assert ref.url == "https://example.com/sub/My%20Model.Q8_0.gguf?version=1"
    assert ref.name is not None
    assert ref.name.display == "My-Model.Q8_0:latest"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("s3://", "'' is no name of a bucket"),
        ("s3://My_Bucket/m.gguf", "'My_Bucket' is no name of a bucket"),
        ("s3://bucket/a//m.gguf", "has an empty part, or one of dots"),
        ("s3://bucket/../m.gguf", "has an empty part, or one of dots"),
        ("s3://bucket/a\nb/", "cannot be printed"),
        ("pvc://models/../../etc/", "has an empty part, or one of dots"),
        ("pvc:///m.gguf", "'' is no name of a volume claim"),
        ("oci://", "is no reference of a registry's artifact"),
        ("oci://ghcr.io", "is no reference of a registry's artifact"),
        ("oci://ai/smollm2", "'ai' is no registry"),
        ("oci://ghcr.io/Team/m", "is no reference of a registry's artifact"),
        ("oci://ghcr.io/a/m@sha256:12", "'sha256:12' is no sha256 digest"),
        ("oci://hf.co/a/b", "models of hf.co are named without oci://; write OWNER/NAME"),
        ("oci://ollama.com/library/x", "write ollama.com/library/NAME:TAG"),
        ("a b", "is no model"),
        ("", "is no model"),
        ("a/b:medium", "'medium' is neither a quantization"),
        ("qwen3:0.6b@main", "only models of the Hugging Face hub have revisions"),
        ("https://example.com/a.zip", "must end in .gguf"),
        ("https://huggingface.co/a/b/blob/main/config.json", "no page of a model"),
        ("https://huggingface.co/", "no page of a model"),
        ("https://ollama.com/blog/a/b/c", "no page of a model"),
        ("http://[", "is no address"),
    ],
)
def test_what_is_wrong_is_told(text: str, what: str) -> None:
    with pytest.raises(ConfigError) as told:
        ModelRef.parse(text)
    assert what in str(told.value)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="user name or a password") as told:
        ModelRef.parse("https://me:hunter2@example.com/a.gguf")
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "printed", "display"),
    [
        ("s3://models/m.gguf", "s3://models/m.gguf", "s3/models/m:latest"),
        ("s3://models/team/m.Q8_0.gguf", "s3://models/team/m.Q8_0.gguf", "s3/models/team..m.Q8_0:latest"),
        ("s3://models/team/qwen", "s3://models/team/qwen/", "s3/models/team..qwen:latest"),
        ("S3://models", "s3://models/", "s3/models/_:latest"),
        ("pvc://claim/a/", "pvc://claim/a/", "pvc/claim/a:latest"),
        ("oci://ghcr.io/org/m:1", "oci://ghcr.io/org/m:1", "ghcr.io/org/m:1"),
        ("oci://ghcr.io/a/b/m", "oci://ghcr.io/a/b/m", "ghcr.io/a..b/m:latest"),
        ("oci://localhost:5000/m", "oci://localhost:5000/m", "localhost:5000/_/m:latest"),
        ("oci://docker.io/m", "oci://docker.io/library/m", "docker.io/library/m:latest"),
        (f"oci://r.io/a/m:1@sha256:{'a' * 64}", f"oci://r.io/a/m:1@sha256:{'a' * 64}", f"r.io/a/m:1@sha256-{'a' * 64}"),
        (f"oci://r.io/a/m@sha256:{'a' * 64}", f"oci://r.io/a/m@sha256:{'a' * 64}", f"r.io/a/m:sha256-{'a' * 64}"),
    ],
)
def test_places_in_storage(text: str, printed: str, display: str) -> None:
    ref = ModelRef.parse(text)
    assert ref.name is not None
    assert (str(ref), ref.name.display) == (printed, display)
    assert ModelName.parse(text) == ref.name


STORAGE = st.one_of(
    st.builds("s3://{}/{}".format, st.sampled_from(["bucket", "b.c-d"]), st.text(max_size=30)),
    st.builds("pvc://{}/{}".format, st.sampled_from(["claim", "a-b"]), st.text(max_size=30)),
    st.builds("oci://{}/{}".format, st.sampled_from(["r.io", "localhost:5000"]), st.text("ab/._-:@1", max_size=30)),
)


@given(STORAGE, STORAGE)
def test_each_place_in_storage_prints_as_itself_and_has_a_name_of_its_own(first: str, second: str) -> None:
    try:
        one, other = ModelRef.parse(first), ModelRef.parse(second)
    except ConfigError:
        return
    assert one.name is not None
    assert other.name is not None
    assert ModelRef.parse(str(one)) == one
    assert ModelName.parse(one.name.display) == one.name
    assert str(one).casefold() == str(other).casefold() or one.name.key != other.name.key


PIECES = st.sampled_from(
    [
        "hf.co/",
        "https://",
        "huggingface.co/",
        "ollama.com/",
        "library/",
        "a/",
        "b",
        ":",
        "@",
        "Q4_K_M",
        "latest",
        ".gguf",
        "main",
        "?x",
        "/",
    ]
)


@example("http://HTTP://HF.CO/")
@example("HF.CO/LIBRARY/0")
@given(st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=8).map("".join)))
def test_every_text_is_a_reference_that_prints_as_itself_or_a_sentence(text: str) -> None:
    try:
        ref = ModelRef.parse(text)
    except ConfigError:
        return
    assert (ref.path is None) != (ref.name is None)
    assert ModelRef.parse(str(ref)) == ref


@given(st.text(alphabet=string.ascii_letters + string.digits + "._-:/@", max_size=60))
def test_no_part_of_a_name_leaves_its_folder(text: str) -> None:
    name = ModelName.parse(text)
    if name is not None:
        assert not any("/" in part or part in ("", ".", "..") for part in (name.host, name.namespace, name.model, name.tag))


@given(st.text(min_size=1, max_size=200))
def test_every_file_has_a_name(stem: str) -> None:
    name = modelref.name_from_stem(stem)
    assert ModelName.parse(name.display) == name


def test_files_keep_their_spelling() -> None:
    assert modelref.name_from_stem("Llama-3.2-1B (my own)").display == "Llama-3.2-1B-my-own-:latest"


@pytest.mark.parametrize(
    ("text", "runs"), [("gpt-oss:120b-cloud", True), ("kimi-k2:cloud", True), ("cloud", False), ("cloud-llama:8b", False)]
)
def test_names_of_ollamas_cloud_are_told_by_their_tag(text: str, runs: bool) -> None:
    assert modelref.runs_at_ollama(text) is runs
