# Two images: `docker build -t hear .` for CPUs, `docker build -t hear:cuda --build-arg DEVICE=cuda .` for NVIDIA GPUs.
# CONTRIBUTING.md says how to run them, as a service too.
ARG DEVICE=cpu

# For .devcontainer/devcontainer.json: make, git and a compiler are here; `make setup` does the rest.
FROM python:3.12-bookworm AS dev
RUN useradd --create-home --uid 1000 --shell /bin/bash hear
USER 1000

# The whole context is copied: `hear-* --version` shows the commit only of a complete checkout.
FROM python:3.12-bookworm AS wheel
WORKDIR /source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.12-slim-bookworm AS base
ENV UV_SYSTEM_PYTHON=1 UV_NO_CACHE=1
RUN pip install --no-cache-dir uv==0.13.9 \
    && useradd --create-home --uid 1000 hear \
    && install --directory --owner=hear /songs /home/hear/.cache /home/hear/.cache/huggingface
COPY requirements-run.txt /tmp/

FROM base AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
RUN uv pip install --require-hashes -r /tmp/requirements-run.txt

# Builds of torch without CUDA are kept on an index of torch's own, which uv knows; no lock has their hashes.
FROM base AS cpu
RUN grep -oE '^(torch(audio|vision)?|triton|nvidia-[a-z0-9-]+|cuda-[a-z]+|dask-cuda)\b' /tmp/requirements-run.txt > /tmp/cuda \
    && uv pip install --require-hashes --excludes /tmp/cuda -r /tmp/requirements-run.txt
RUN grep -oE '^torch(audio|vision)?==[0-9.]+' /tmp/requirements-run.txt > /tmp/torch \
    && uv pip install --torch-backend=cpu -r /tmp/torch

FROM ${DEVICE}
COPY --from=wheel /wheel /tmp/wheel
RUN uv pip install --no-deps /tmp/wheel/*.whl
USER 1000
WORKDIR /songs
EXPOSE 8000
CMD ["hear-head", "--help"]
