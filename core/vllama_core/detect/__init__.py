"""From readings (texts of /proc and sysfs, numbers of NVML and Metal) to the values of `hardware`. Pure: `vllama_agent.hardware` reads."""
