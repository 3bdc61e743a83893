# syntax=docker/dockerfile:1

# Portcullis' images for those who have Docker; `make images` makes the same
# without it.
#
#   docker build --target server --build-arg VERSION=v0.1.0 -t portcullis .
#   docker build --target agent  --build-arg VERSION=v0.1.0 -t portcullis-agent .
#   docker build --target ctl    --build-arg VERSION=v0.1.0 -t portcullisctl .

# The compiler runs on the machine that builds, for the platform that is built.
FROM --platform=$BUILDPLATFORM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=dev
ENV CGO_ENABLED=0
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /out/ \
    ./cmd/portcullis ./cmd/portcullis-agent ./cmd/portcullisctl

# Runs as root, because capabilities do not pass to another user; the chart gives
# it the two that it needs and no others.
FROM scratch AS agent
COPY --from=build /out/portcullis-agent /portcullis-agent
ENTRYPOINT ["/portcullis-agent"]

FROM scratch AS ctl
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/portcullisctl /portcullisctl
USER 65532:65532
ENTRYPOINT ["/portcullisctl"]

# The last one is what is built where no target is named. The certificate
# authorities are for the endpoint that detections are posted to.
FROM scratch AS server
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/portcullis /portcullis
USER 65532:65532
ENTRYPOINT ["/portcullis"]
