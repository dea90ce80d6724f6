# `make image` in the pinned toolchain's container, for people with an engine and no Rust. It decides
# nothing: what is in the images stands in the Makefile and tests/tools/image.
#   docker build --build-arg SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) --output target/image .
#   docker load --input target/image/palisade-agent.tar
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
ARG SOURCE_DATE_EPOCH=0
RUN make image

FROM scratch
COPY --from=build /src/target/image /
