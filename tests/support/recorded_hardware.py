"""What real machines said of themselves, each with where it was published. Lines that nothing here reads are left out."""

from __future__ import annotations

from pathlib import Path

from vllama_core.detect.nvidia import Card, Nvml, Sizes, Slice

MIB = 1 << 20

# -- /proc/cpuinfo ------------------------------------------------------------------------------------------------------------------------

RASPBERRY_PI_5 = """\
processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

processor\t: 1
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

Revision\t: d04170
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
"""github.com/sidalit/stack-utils cpu/test_data/rpi5-cpuinfo"""

XEON_E5_2640_V2 = """\
processor : 0
vendor_id : GenuineIntel
model name  : Intel(R) Xeon(R) CPU E5-2640 v2 @ 2.00GHz
flags   : fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush dts acpi mmx fxsr sse sse2 ss ht tm pbe syscall \
nx pdpe1gb rdtscp lm constant_tsc pni pclmulqdq ssse3 cx16 pcid dca sse4_1 sse4_2 x2apic popcnt aes xsave avx f16c rdrand lahf_lm
"""
"""github.com/sidalit/stack-utils cpu/test_data/hp-dl380p-gen8-cpuinfo, the first of its processors: Ivy Bridge, without AVX2 and FMA"""

XEON_SAPPHIRE_RAPIDS = """\
processor\t: 0
flags\t\t: fpu sse4_1 sse4_2 x2apic movbe popcnt aes xsave avx f16c rdrand fsgsbase bmi1 avx2 smep bmi2 fma avx512f avx512dq avx512ifma \
avx512cd avx512bw avx512vl avx_vnni avx512_bf16 wbnoinvd avx512vbmi umip avx512_vbmi2 gfni vaes vpclmulqdq avx512_vnni avx512_bitalg \
amx_bf16 avx512_fp16 amx_tile amx_int8
"""
"""Hugging Face's blog on fine-tuning Stable Diffusion on Sapphire Rapids, output of lscpu"""

# -- sysctl -------------------------------------------------------------------------------------------------------------------------------

M3_PRO = """\
kern.sched_rt_avoid_cpu0: 0
hw.ncpu: 12
hw.perflevel0.physicalcpu: 6
hw.perflevel0.logicalcpu: 6
hw.perflevel1.physicalcpu: 6
hw.physicalcpu: 12
hw.logicalcpu: 12
machdep.cpu.brand_string: Apple M3 Pro
"""
"""github.com/sidalit/stack-utils cpu/test_data/mac-m3-sysctl"""

M4_FEATURES = """\
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_SSBS: 0
hw.optional.arm.FEAT_SME: 1
hw.optional.arm.FEAT_SME2: 1
"""
"""Arm Learning Paths, "Build and test KleidiCV", on a MacBook Pro with an M4"""

WORKING_SETS = (
    ("Apple M1", 16 << 30, 10922.67),  # github.com/abetlen/llama-cpp-python/issues/687
    ("Apple M2 Max", 32 << 30, 21845.34),  # github.com/ollama/ollama/issues/434
    ("Apple M2 Max", 96 << 30, 73728.00),  # github.com/ggml-org/llama.cpp/issues/3213
)
"""(chip, bytes of memory, MiB of ``recommendedMaxWorkingSetSize``) as llama.cpp's ggml_metal_init printed them."""

# -- NVML ---------------------------------------------------------------------------------------------------------------------------------

A10 = Nvml(
    driver="550.127.05",
    cuda=12040,
    cards=(
        Card(
            index=0,
            uuid="GPU-51ae0086-e1ac-4a20-f062-9caa44e4df6d",
            name="NVIDIA A10",
            capability=(8, 6),
            memory=Sizes(total=23028 * MIB, reserved=526 * MIB, free=22503 * MIB),
        ),
    ),
)
"""github.com/leptonai/gpud e2e/mock/nvidia-smi/test_data.go, output of nvidia-smi -q, which prints NVML's figures in MiB"""

DGX_A100 = Nvml(
    driver="550.54.15",
    cuda=12040,
    cards=tuple(
        Card(
            index=index,
            uuid=f"GPU-0000000{index}-0000-0000-0000-000000000000",
            name="NVIDIA A100-SXM4-40GB",
            capability=(8, 0),
            memory=Sizes(total=42949672960, reserved=0, free=42949672960),
        )
        for index in range(8)
    ),
)
"""github.com/NVIDIA/go-nvml pkg/nvml/mock/dgxa100/dgxa100.go, which makes its UUIDs up when it runs"""

SLICED_A100 = Nvml(
    driver="550.54.15",
    cuda=12040,
    cards=(
        Card(
            index=0,
            uuid="GPU-9c73eb7b-8d6d-6c0e-dc13-97873e2ede40",
            name="NVIDIA A100-SXM4-80GB",
            capability=(8, 0),
            memory=Sizes(total=81920 * MIB, reserved=0, free=81920 * MIB),
            slices=(
                Slice(
                    uuid="MIG-a686709d-6dc2-542a-8851-0d2508448c10",
                    name="NVIDIA A100-SXM4-80GB MIG 1g.10gb",
                    gpu_instance=9,
                    compute_instance=0,
                    memory=Sizes(total=9856 * MIB, reserved=0, free=9856 * MIB),
                ),
                Slice(
                    uuid="MIG-53864714-0a66-5df2-9007-9268e30d9a72",
                    name="NVIDIA A100-SXM4-80GB MIG 1g.10gb",
                    gpu_instance=11,
                    compute_instance=0,
                    memory=Sizes(total=9856 * MIB, reserved=0, free=9856 * MIB),
                ),
            ),
        ),
    ),
)
"""UUIDs: output of nvidia-smi -L in github.com/yandex-cloud/docs, ru/compute/operations, on MIG; sizes of the profile 1g.10gb:
github.com/NVIDIA/go-nvml pkg/nvml/mock/shared/gpus/a100.go"""

# -- sysfs --------------------------------------------------------------------------------------------------------------------------------

PHOENIX_NODE = """\
cpu_cores_count 0
simd_count 24
gfx_target_version 110003
vendor_id 4098
device_id 5567
location_id 25600
domain 0
drm_render_minor 128
local_mem_size 0
unique_id 0
"""
"""github.com/ilya-zlobintsev/LACT lact-daemon/src/tests/data/amd/phoenix/kfd/topology/nodes/1/properties: a Ryzen 7840U's graphics"""

PHOENIX_UEVENT = """\
DRIVER=amdgpu
PCI_CLASS=30000
PCI_ID=1002:15BF
PCI_SUBSYS_ID=17AA:50DA
PCI_SLOT_NAME=0000:64:00.0
MODALIAS=pci:v00001002d000015BFsv000017AAsd000050DAbc03sc00i00
"""
"""The same machine, …/phoenix/card1/device/uevent"""

MI210_NODE = """\
cpu_cores_count 0
simd_count 416
gfx_target_version 90010
vendor_id 4098
device_id 29711
location_id 25344
domain 0
drm_render_minor 128
hive_id 12609507387757274807
local_mem_size 0
"""
"""github.com/ROCm/k8s-device-plugin testdata/topo-mi210-xgmi-pcie/nodes/2/properties"""

EPYC_NODE = "cpu_cores_count 64\nsimd_count 0\ngfx_target_version 0\nvendor_id 0\ndevice_id 0\nlocation_id 0\ndomain 0\n"
"""The same machine, …/nodes/0/properties: a processor"""

RX_580_VRAM = {"mem_info_vram_total": 8573157376, "mem_info_vram_used": 1490378752, "mem_info_gtt_total": 8573157376}
"""github.com/prometheus/procfs sysfs/class_drm_amdgpu_test.go, of a card with 8 GB"""

B580_UEVENT = """\
DRIVER=xe
PCI_CLASS=30000
PCI_ID=8086:E20B
PCI_SUBSYS_ID=8086:1100
PCI_SLOT_NAME=0000:0b:00.0
"""
"""github.com/ilya-zlobintsev/LACT lact-daemon/src/tests/data/intel/b580-6.16/card1/device/uevent"""

A380_UEVENT = """\
DRIVER=i915
PCI_CLASS=30000
PCI_ID=8086:56A5
PCI_SUBSYS_ID=1849:6004
PCI_SLOT_NAME=0000:0b:00.0
"""
"""…/intel/a380-i915/card1/device/uevent"""

COMET_LAKE_UEVENT = """\
DRIVER=i915
PCI_CLASS=30000
PCI_ID=8086:9B41
PCI_SUBSYS_ID=17AA:22B1
PCI_SLOT_NAME=0000:00:02.0
"""
"""…/intel/cometlake/card0/device/uevent: a laptop's own graphics"""

# -- llama.cpp's log ----------------------------------------------------------------------------------------------------------------------

V100_LOG = """\
0.00.345.146 I load_tensors: offloading 12 repeating layers to GPU
0.00.345.153 I load_tensors: offloading output layer to GPU
0.00.345.154 I load_tensors: offloaded 13/13 layers to GPU
0.00.345.158 I load_tensors:        CUDA0 model buffer size =    40.73 MiB
0.00.345.160 I load_tensors:   CPU_Mapped model buffer size =    23.11 MiB
0.00.359.024 I llama_kv_cache_init:      CUDA0 KV buffer size =     9.00 MiB
0.00.359.034 I llama_init_from_model: KV self size  =    9.00 MiB, K (f16):    4.50 MiB, V (f16):    4.50 MiB
0.00.359.046 I llama_init_from_model:  CUDA_Host  output buffer size =     0.00 MiB
0.00.364.237 I llama_init_from_model:      CUDA0 compute buffer size =    16.00 MiB
0.00.364.247 I llama_init_from_model:  CUDA_Host compute buffer size =     2.51 MiB
"""
"""github.com/ggml-org/ci, results of build 4684 on a Tesla V100-PCIE-16GB"""


def sysfs(root: Path, cards: dict[str, tuple[str, dict[str, int]]], nodes: tuple[str, ...] = ()) -> Path:
    """A tree as the kernel makes one.

    :param cards: by name, such as ``card0``: text of its ``uevent``, and numbers by file below its device.
    :param nodes: texts of KFD nodes' ``properties``.
    """
    for name, (uevent, numbers) in cards.items():
        event = dict(line.split("=", 1) for line in uevent.splitlines())
        device = root / "bus" / "pci" / "devices" / event["PCI_SLOT_NAME"]
        device.mkdir(parents=True)
        vendor, _, _number = event["PCI_ID"].partition(":")
        files = {"uevent": uevent, "vendor": f"0x{vendor.lower()}\n", "class": "0x030000\n"}
        for file, text in (files | {file: f"{number}\n" for file, number in numbers.items()}).items():
            (device / file).parent.mkdir(parents=True, exist_ok=True)
            (device / file).write_text(text)
        entry = root / "class" / "drm" / name
        entry.mkdir(parents=True)
        (entry / "device").symlink_to(device)
        (root / "class" / "drm" / f"{name}-DP-1").mkdir()
    for number, properties in enumerate(nodes):
        node = root / "class" / "kfd" / "kfd" / "topology" / "nodes" / str(number)
        node.mkdir(parents=True)
        (node / "properties").write_text(properties)
    return root
