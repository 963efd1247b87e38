"""vllama.yaml: what it may say, and what is told of what it may not."""

import pytest

from vllama_core.engine_build import EngineName
from vllama_core.errors import ConfigError
from vllama_core.model_form import Form
from vllama_core.serve_spec import ModelSpec, parse


def models(*entries):
    return "models:\n" + "".join(f"  - {entry}\n" for entry in entries)


def one(entry):
    [spec] = parse(models(entry), file="vllama.yaml").models
    return spec


def test_an_entry_of_every_kind_of_field():
    found = parse(
        """
models:
  - model:
      source: qwen3:0.6b
      quantization: Q8_0
      name: Small
      aliases: [tiny, "tiny:v2"]
    engine:
      type: llamacpp
      options: {kvCacheType: q8_0, flashAttention: on, batch: 512, gpuLayers: -1, tensorSplit: [3, 1], mmap: false, stepBudget: 0.5}
    resources: {contextLength: 16384, cpu: 1500m, memory: 3Gi, accelerator: cpu}
  - model: {source: org/repo, revision: v1.0, quantization: q5_k_m}
""",
        file="vllama.yaml",
    )
    assert found.models == (
        ModelSpec(
            ref="qwen3:0.6b-q8_0",
            name="Small:latest",
            aliases=("tiny:latest", "tiny:v2"),
            form=Form.GGUF,
            settings={
                "cache_type_k": "q8_0",
                "cache_type_v": "q8_0",
                "flash_attn": "on",
                "batch_size": 512,
                "gpu_layers": 0,
                "engine": EngineName.LLAMA_CPP,
                "tensor_split": (3.0, 1.0),
                "mmap": False,
                "step_budget": 0.5,
                "ctx_size": 16384,
                "threads": 1,
            },
            memory=3 << 30,
        ),
        ModelSpec(ref="org/repo:Q5_K_M@v1.0"),
    )
    assert found.notes == ()
    assert [spec.line for spec in found.models] == [3, 12]


def test_an_entry_of_a_cluster_is_accepted_and_what_means_nothing_here_is_told():
    found = parse(
        models(
            "{model: {source: qwen3, secretRef: {name: hf, key: token}}, replicas: 2, scaling: {min: 0}, podTemplate: {},"
            " resources: {accelerator: nvidia, count: 1, memory: null}, engine: {image: x, args: [], env: []}}"
        ),
        file="f",
    )
    assert found.models == (ModelSpec(ref="qwen3"),)
    assert [note.partition(" is for clusters")[0] for note in found.notes] == [
        "line 2: models[0].replicas",
        "line 2: models[0].scaling",
        "line 2: models[0].podTemplate",
        "line 2: models[0].model.secretRef",
        "line 2: models[0].engine.image",
        "line 2: models[0].resources.accelerator",
        "line 2: models[0].resources.count",
    ]


@pytest.mark.parametrize(
    ("entry", "form", "settings"),
    [
        ("{model: {source: a}}", None, {}),
        ("{model: {source: a, format: hf}, engine: {type: auto}}", Form.HUGGING_FACE, {}),
        ("{model: {source: a}, engine: {type: llamacpp}}", Form.GGUF, {"engine": EngineName.LLAMA_CPP}),
        ("{model: {source: a, format: hf}, engine: {type: mlx}}", Form.HUGGING_FACE, {"engine": EngineName.MLX}),
        (
            "{model: {source: a}, engine: {type: vllm, args: [--dtype, half, --max-num-batched-tokens=512], options: {parallel: 8}}}",
            Form.HUGGING_FACE,
            {"engine": EngineName.VLLM, "engine_args": ("--dtype", "half", "--max-num-batched-tokens=512"), "parallel": 8},
        ),
    ],
)
def test_each_model_has_an_engine_of_its_own_and_the_form_that_it_loads(entry, form, settings):
    found = one(entry)
    assert (found.form, found.settings) == (form, settings)


def test_an_empty_list_is_no_model():
    assert parse("models: []", file="f").models == ()


@pytest.mark.parametrize(
    ("entry", "ref"),
    [
        ("{source: qwen3, quantization: Q6_K}", "qwen3:q6_k"),
        ("{source: 'qwen3:0.6b-q8_0', quantization: Q8_0}", "qwen3:0.6b-q8_0"),
        ("{source: 'org/repo:Q8_0', quantization: Q8_0}", "org/repo:Q8_0"),
        ("{source: hf.co/org/repo, revision: main}", "org/repo@main"),
        ("{source: ./a.gguf, format: gguf}", "./a.gguf"),
    ],
)
def test_source_quantization_and_revision_become_one_reference(entry, ref):
    assert one(f"{{model: {entry}}}").ref == ref


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("{}", "models[0] must have model"),
        ("3", "models[0] must be a mapping; it is a whole number"),
        ("{? [a] : b}", "models[0] has a field whose name is no text"),
        ("{modell: {source: a}}", "models[0].modell is not known here; did you mean model?"),
        ("{model: {source: a}, model: {source: b}}", "models[0].model is there twice, first on line 2"),
        ("{model: {name: a}}", "models[0].model must have a source"),
        ("{model: {source: [a]}}", "models[0].model.source must be a text; it is a list"),
        ("{model: {source: ''}}", "models[0].model.source must be a text; it is empty"),
        ("{model: {source: 'a b'}}", "models[0].model.source is no model: 'a b'"),
        ("{model: {source: a, token: hf_secret}}", "models[0].model.token is not known here"),
        ("{model: {source: a, secretRef: hf_secret}}", "models[0].model.secretRef must be a mapping; it is a text"),
        ("{model: {source: a, name: 'a b'}}", "models[0].model.name is 'a b', which cannot be a model's name"),
        ("{model: {source: a, aliases: b}}", "models[0].model.aliases must be a list; it is a text"),
        ("{model: {source: a, format: onnx}}", "models[0].model.format is 'onnx'; it must be one of gguf, hf"),
        ("{model: {source: a, format: gguf}, engine: {type: vllm}}", "models[0].model.format is gguf, and vllm loads hf; leave"),
        ("{model: {source: a, format: hf}, engine: {type: llamacpp}}", "models[0].model.format is hf, and llama.cpp loads gguf; leave"),
        (
            "{model: {source: a, quantization: Q8_0}, engine: {type: mlx}}",
            "models[0].model.quantization chooses a GGUF, which mlx does",
        ),
        ("{model: {source: a, quantization: Q9}}", "models[0].model.quantization is 'Q9', which is no quantization"),
        ("{model: {source: ./a.gguf, quantization: Q8_0}}", "models[0].model.quantization can be said of a name or a repository"),
        ("{model: {source: 'o/r:Q8_0', quantization: Q4_0}}", "models[0].model.quantization is Q4_0, but the source says Q8_0"),
        ("{model: {source: 'a:7b-q8_0', quantization: Q4_0}}", "is Q4_0, but the source's tag '7b-q8_0' names another one"),
        ("{model: {source: a, revision: x}}", "models[0].model.revision can be said only of a repository"),
        ("{model: {source: o/r@y, revision: x}}", "models[0].model.revision is 'x', but the source says 'y'"),
        ("{model: {source: a}, engine: {type: tgi}}", "models[0].engine.type is 'tgi'; it must be one of auto, llamacpp, vllm, mlx"),
        ("{model: {source: a}, engine: {type: llamacpp, args: [--x]}}", "engine.args are arguments of vLLM, and llama.cpp runs this model"),
        (
            "{model: {source: a}, engine: {args: [--x, '--port=1']}}",
            "models[0].engine.args[1] is '--port=1', which is not to be given",
        ),
        ("{model: {source: a}, engine: {args: [--max_model_len, 5]}}", "models[0].engine.args[0] is '--max_model_len', which is not to be"),
        ("{model: {source: a}, engine: {args: [dtype, half]}}", "models[0].engine.args[0] is 'dtype', which no argument stands before"),
        ("{model: {source: a}, engine: {args: --x}}", "models[0].engine.args must be a list; it is a text"),
        ("{model: {source: a}, engine: {type: vllm, options: {mlock: true}}}", "options.mlock is llama.cpp's; vllm has kvCells, parallel"),
        ("{model: {source: a}, engine: {env: [{name: T, value: s}]}}", "models[0].engine.env is set for pods only"),
        ("{model: {source: a}, engine: {options: {batchSize: 1}}}", "models[0].engine.options.batchSize is not known here; did you mean"),
        ("{model: {source: a}, engine: {options: {parallel: 0}}}", "parallel is '0'; it must be a whole number, 1 to 256"),
        ("{model: {source: a}, engine: {options: {parallel: true}}}", "parallel is 'true'; it must be a whole number, 1 to 256"),
        ("{model: {source: a}, engine: {options: {kvCacheType: q9}}}", "kvCacheType is 'q9'; it must be one of f32, f16"),
        ("{model: {source: a}, engine: {options: {mmap: 1}}}", "mmap is '1'; it must be true or false"),
        ("{model: {source: a}, engine: {options: {ropeFreqBase: .inf}}}", "ropeFreqBase is '.inf'; it must be a number greater than 0"),
        ("{model: {source: a}, engine: {options: {threads: [1]}}}", "threads is a list; it must be a whole number"),
        ("{model: {source: a}, resources: {contextLength: 8}}", "contextLength is '8'; it must be a whole number, 16 to 16777216"),
        ("{model: {source: a}, resources: {contextLength: 99999999999999999999}}", "it must be a whole number, 16 to 16777216"),
        ("{model: {source: a}, engine: {options: {kvCells: 4294967312}}}", "kvCells is '4294967312'; it must be a whole number, 16 to"),
        ("{model: {source: a}, engine: {options: {gpuLayers: 4294967295}}}", "it must be a whole number, -1 to 65536"),
        ("{model: {source: a}, resources: {memory: lots}}", "memory is 'lots': it must be an amount of memory"),
        ("{model: {source: a}, resources: {cpu: 0}}", "cpu is '0'; it must be a number of CPUs"),
        ("{model: {source: a}, resources: {accelerator: tpu}}", "accelerator is 'tpu'; it must be one of auto, cpu"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_field_and_a_way_out(entry, told):
    with pytest.raises(ConfigError) as error:
        parse(models(entry), file="vllama.yaml")
    assert str(error.value).startswith("vllama.yaml:2: ")
    assert str(error.value).count("vllama.yaml") == 1
    assert told in str(error.value)
    assert "hf_secret" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "f is empty"),
        ("- a", "f:1: must be a mapping; it is a list"),
        ("model: {}", "f:1: model is not known here; did you mean models?"),
        ("models:\n", "f:1: must have a list called models"),
        ("models:\n  - model: {source: a", "f:2: is not readable as YAML"),
        ("a: b: c", "f:1: is not readable as YAML: mapping values are not allowed here"),
        ("\x00", "f: is not readable as YAML"),
        ("[" * 5000, "f: is not readable as YAML: it is nested too deeply"),
        ("#" * (1 << 21), "f has 2097152 characters; at most 1048576 are read"),
        ("--- {}\n--- {}", "is not readable as YAML: but found another document"),
    ],
)
def test_a_file_that_is_no_such_file_says_so(text, told):
    with pytest.raises(ConfigError) as error:
        parse(text, file="f")
    assert told in str(error.value)


@pytest.mark.parametrize("second", ["{model: {source: 'a:latest'}}", "{model: {source: b, name: A}}", "{model: {source: b, aliases: [a]}}"])
def test_no_name_means_two_models(second):
    with pytest.raises(ConfigError, match=r"f:3: two models are called .*, the first on line 2"):
        parse(models("{model: {source: a}}", second), file="f")
