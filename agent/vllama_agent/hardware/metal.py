"""Metal's default device. Run as a module it prints what Metal says as JSON; `read` runs that in a child and takes it in.

https://developer.apple.com/documentation/metal/mtldevice/recommendedmaxworkingsetsize
"""

from __future__ import annotations

import ctypes
import json
from typing import Any

from vllama_agent.hardware.looking import ask
from vllama_core.detect.apple import Metal

SECONDS = 5.0
FRAMEWORKS = "/System/Library/Frameworks"


def read() -> Metal:
    """The default device.

    :raises Failed: Metal does not work here.
    """
    fields = ask(__name__, seconds=SECONDS)
    return Metal(name=fields["name"], working_set=fields["working_set"])


# -- in the child -----------------------------------------------------------------------------------------------------------------------


def query() -> dict[str, Any]:
    """Name and working set of the default device, by messages of the Objective-C runtime.

    :raises OSError: this is not macOS.
    """
    # without Core Graphics the system has no default device to give
    ctypes.CDLL(f"{FRAMEWORKS}/CoreGraphics.framework/CoreGraphics")
    metal = ctypes.CDLL(f"{FRAMEWORKS}/Metal.framework/Metal")
    runtime = ctypes.CDLL("/usr/lib/libobjc.dylib")
    metal.MTLCreateSystemDefaultDevice.restype = ctypes.c_void_p
    runtime.sel_registerName.restype = ctypes.c_void_p
    device = metal.MTLCreateSystemDefaultDevice()
    if not device:
        return {"failed": "Metal has no device here"}

    def send(kind: Any, receiver: int, message: bytes) -> Any:
        # on arm64 a message has to be sent by a prototype of its own: variadic calls pass arguments elsewhere
        function = ctypes.CFUNCTYPE(kind, ctypes.c_void_p, ctypes.c_void_p)(("objc_msgSend", runtime))
        return function(receiver, runtime.sel_registerName(message))

    name = send(ctypes.c_char_p, send(ctypes.c_void_p, device, b"name"), b"UTF8String")
    return {"name": name.decode("utf-8", "replace"), "working_set": send(ctypes.c_uint64, device, b"recommendedMaxWorkingSetSize")}


if __name__ == "__main__":
    print(json.dumps(query()))
