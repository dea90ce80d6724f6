# One image per component, each a static binary on nothing:
#   docker build --target agent     -t palisade-agent .
#   docker build --target collector -t palisade-collector .
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
ENV RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=/src=."
# The explicit target keeps proc-macros dynamic; each package alone keeps features apart.
RUN cargo build --locked --target x86_64-unknown-linux-gnu --profile agent -p palisade-agent \
 && cargo build --locked --target x86_64-unknown-linux-gnu --release -p palisade-collector

FROM scratch AS agent
COPY --from=build /src/target/x86_64-unknown-linux-gnu/agent/palisade-agent /palisade-agent
ENTRYPOINT ["/palisade-agent"]
CMD ["run", "--root", "/host"]

FROM scratch AS collector
COPY --from=build /src/target/x86_64-unknown-linux-gnu/release/palisade-collector /palisade-collector
USER 65532:65532
ENTRYPOINT ["/palisade-collector"]
