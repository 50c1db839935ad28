# Images of longlora. Targets: server, worker, client (and build, which the others copy from).
#
#   docker build --target server -t longlora-server .
#   deploy/build-images            the same with buildah on a bootstrapped Debian, no registry needed
#
# BASE is any Debian 12; build stage and runtime stages use the same release, so that glibc fits.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
# Where compiled objects are looked up; deploy/build-images mounts this machine's cache there.
ARG CCACHE_DIR=/src/.deps/ccache
# ./dev installs everything else, from lists that are in the repository.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# First what set-up needs: the layer with LibTorch and the compilers is kept while only code changes.
COPY dev ./
COPY tools/apt-packages.txt tools/requirements.txt tools/
RUN ./dev setup build
COPY . .
RUN ./dev build release longlora-server longlora-worker longlora-trainer longlora_cuda longlora
RUN deploy/collect-runtime /out/server build/bin/longlora-server \
 && deploy/collect-runtime /out/client build/bin/longlora \
 && deploy/collect-runtime /out/worker build/bin/longlora-worker build/bin/longlora-trainer build/lib/liblonglora_cuda.so

FROM ${BASE} AS runtime
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && echo /opt/longlora/lib >/etc/ld.so.conf.d/longlora.conf \
 && install -d -o 10001 -g 10001 /var/lib/longlora
ENV PATH=/opt/longlora/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

FROM runtime AS server
COPY --from=build /out/server /opt/longlora
RUN ldconfig
USER 10001:10001
WORKDIR /var/lib/longlora
VOLUME /var/lib/longlora
# gRPC, metrics
EXPOSE 7070 9464
ENTRYPOINT ["longlora-server"]
CMD ["--data-dir", "/var/lib/longlora", "--listen", "127.0.0.1:7070", "--metrics-listen", "0.0.0.0:9464"]

FROM runtime AS worker
COPY --from=build /out/worker /opt/longlora
RUN ldconfig
USER 10001:10001
WORKDIR /var/lib/longlora
VOLUME /var/lib/longlora
# metrics
EXPOSE 9202
ENTRYPOINT ["longlora-worker"]

FROM runtime AS client
COPY --from=build /out/client /opt/longlora
RUN ldconfig
USER 10001:10001
WORKDIR /work
ENTRYPOINT ["longlora"]
