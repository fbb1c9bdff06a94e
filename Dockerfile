# One image with the programs /api, /worker and, to try them, /simulator: static binaries, no shell, no root.
# It needs BuildKit or Buildah, and no registry but that of the two images below: there is no `# syntax`, which would be a third.
# There is no HEALTHCHECK: the image does not know which of them runs. Compose asks `/api healthcheck`, Kubernetes has probes.

ARG GO_IMAGE=golang:1.26
ARG RUNTIME_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/cache \
    GOCACHE=/cache CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -ldflags "-s -w" -o /out/ ./cmd/api ./cmd/worker ./cmd/simulator

FROM ${RUNTIME_IMAGE}
COPY --from=build /out/api /out/worker /out/simulator /
USER 65532:65532
EXPOSE 3000
CMD ["/api"]
