# Images of vllama, by target:
#
#   agent-cpu   llama.cpp on CPUs: x86-64-v3 (AVX2) or arm64 with dot products; an older CPU is told so at start
#   agent-cuda  vLLM on NVIDIA GPUs: vLLM's own image, with the agent in an environment beside it; built by nobody yet
#   operator    the Kubernetes operator alone: no engine, and none of the agent's libraries
#
#   docker build --target agent-cpu --tag vllama:agent-cpu .        (or `make image`, which takes the wheel that `make` compiled)
#
# An agent listens on 0.0.0.0, so it starts only with VLLAMA_API_KEY_FILE or VLLAMA_NO_AUTH=1, and sets neither. Its models and all other
# state live in /models; the rest may be read-only, any user may run it, and nothing in it compiles. The operator writes nothing at all.

ARG BASE_IMAGE=docker.io/library/debian:bookworm-slim
# The vLLM that this version of vllama knows. Pin its bytes with --build-arg VLLM_DIGEST=@sha256:...
ARG VLLM_IMAGE=docker.io/vllm/vllm-openai:v0.32.0
ARG VLLM_DIGEST=
ARG VLLM_PYTHON=/usr/bin/python3

FROM ${BASE_IMAGE} AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libgomp1 python3 \
    && rm -rf /var/lib/apt/lists/*

FROM python AS tools
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /build \
    && /build/bin/pip install --no-cache-dir pip==26.3

FROM tools AS build
# llama-cpp-python is published as source only. A wheel in docker/wheels/ is taken; else it is compiled here, which takes minutes. This step
# sees nothing but what the wheel depends on, so a change of vllama itself compiles nothing anew. Copies rather than bind mounts, whose
# content buildah does not look at when it takes a step from its cache.
COPY pyproject.toml /src/
COPY tools /src/tools
COPY docker/wheels /src/wheels
RUN mkdir /wheels \
    && if compgen -G "/src/wheels/*-linux_$(uname -m).whl"; then cp /src/wheels/*-linux_"$(uname -m)".whl /wheels/; \
    else cp "$(VLLAMA_DEV_CACHE=/tmp/vllama-dev /build/bin/python /src/tools/llama_wheel.py portable)" /wheels/; fi
COPY LICENSE README.md /src/
COPY core /src/core
COPY agent /src/agent
COPY operator /src/operator
RUN python3 -m venv --without-pip /opt/vllama \
    && /build/bin/pip --python /opt/vllama/bin/python install --no-cache-dir --find-links /wheels --only-binary llama-cpp-python "/src[llama,s3]" \
    && /opt/vllama/bin/python -c "import llama_cpp"

# The agent's own packages, by the interpreter of vLLM's image but apart from vLLM's: neither sees the other's. No llama.cpp: nothing compiles.
FROM ${VLLM_IMAGE}${VLLM_DIGEST} AS build-cuda
ARG VLLM_PYTHON
RUN --mount=type=bind,source=.,target=/src \
    "${VLLM_PYTHON}" -m venv /build \
    && "${VLLM_PYTHON}" -m venv --without-pip /opt/vllama \
    && /build/bin/pip install --no-cache-dir pip==26.3 \
    && /build/bin/pip --python /opt/vllama/bin/python install --no-cache-dir "/src[s3]" \
    && /opt/vllama/bin/python -I -c "import vllama_agent.server"

FROM ${VLLM_IMAGE}${VLLM_DIGEST} AS agent-cuda
ARG VLLM_PYTHON
COPY --from=build-cuda /opt/vllama /opt/vllama
RUN mkdir --mode=0777 /models \
    && chown 65532:65532 /models
# HOME: libraries that cache beside it find a folder that may be written to, whoever runs the image
ENV PATH=/opt/vllama/bin:$PATH \
    HF_HOME=/models/huggingface \
    HOME=/models \
    VLLAMA_HOME=/models \
    VLLAMA_HOST=0.0.0.0 \
    VLLAMA_VLLM_PYTHON=${VLLM_PYTHON}
USER 65532:65532
EXPOSE 11434
ENTRYPOINT ["/opt/vllama/bin/python", "-I", "-m", "vllama_agent.container"]
CMD ["serve"]

FROM python AS agent-cpu
COPY --from=build /opt/vllama /opt/vllama
RUN mkdir --mode=0777 /models \
    && chown 65532:65532 /models
ENV PATH=/opt/vllama/bin:$PATH \
    HF_HOME=/models/huggingface \
    VLLAMA_HOME=/models \
    VLLAMA_HOST=0.0.0.0
USER 65532:65532
EXPOSE 11434
ENTRYPOINT ["/opt/vllama/bin/python", "-I", "-m", "vllama_agent.container"]
CMD ["serve"]

FROM tools AS build-operator
# pip would bring all that the agent needs along with our own package, so what the operator needs is installed by its group, and its two
# packages, which are pure Python, are copied; compiled here, since a read-only root keeps no bytecode.
COPY pyproject.toml /src/
RUN python3 -m venv --without-pip /opt/vllama \
    && /build/bin/pip --python /opt/vllama/bin/python install --no-cache-dir --group /src/pyproject.toml:operator
COPY core/vllama_core /src/vllama_core
COPY operator/vllama_operator /src/vllama_operator
RUN packages="$(/opt/vllama/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
    && cp -R /src/vllama_core /src/vllama_operator "$packages" \
    && /opt/vllama/bin/python -m compileall -q "$packages/vllama_core" "$packages/vllama_operator" \
    && /opt/vllama/bin/python -I -c "import vllama_operator.handlers"

FROM python AS operator
COPY --from=build-operator /opt/vllama /opt/vllama
ENV PATH=/opt/vllama/bin:$PATH
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/opt/vllama/bin/python", "-I", "-m", "vllama_operator"]
