# Builds the image from a checkout:
#
#   docker build -t sallyport --build-arg VERSION=v1.2.3 .
#
# The image holds both programs, static, in one file with two names; their manual pages
# and completions; and with-capabilities, its entrypoint. VERSION is what --version and
# the image's labels name, and REVISION the commit.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
# .dockerignore lists the files that this brings.
COPY . .
# grpcnotrace: the pages that gRPC serves for debugging, which this program does not
# have, would keep the linker from removing methods that nothing calls. No symbols for
# debuggers: -s removes them anyway.
ENV CGO_ENABLED=0 GOFLAGS="-tags=grpcnotrace -gcflags=all=-dwarf=false"
# This compiles the packages, and links a program that writes the manual pages. The step
# below only links, so that another VERSION builds in seconds.
RUN container/one-program \
 && go list -trimpath -deps -export ./cmd/sallyportd ./cmd/sallyportd/internal/withcaps >/dev/null \
 && go build -trimpath -tags=grpcnotrace,manual -o /tmp/manual/ ./cmd/sallyportd \
 && ln /tmp/manual/sallyportd /tmp/manual/sallyport
ARG VERSION=devel
# The programs, their manual pages and completions, and what they find in the image.
RUN go build -trimpath -ldflags="-s -w -X sallyport/cmd/internal/cli.given=$VERSION" -o /image/usr/bin/ ./cmd/sallyportd \
 && go build -trimpath -ldflags="-s -w" -o /image/usr/lib/sallyport/with-capabilities ./cmd/sallyportd/internal/withcaps \
 && ln /image/usr/bin/sallyportd /image/usr/bin/sallyport \
 && for p in sallyport sallyportd; do \
      b=/image/usr/bin/$p; s=/image/usr/share; \
      mkdir -p $s/bash-completion/completions $s/zsh/site-functions $s/fish/vendor_completions.d \
      && /tmp/manual/$p man $s/man/man1 $VERSION \
      && $b completion bash >$s/bash-completion/completions/$p \
      && $b completion zsh >$s/zsh/site-functions/_$p \
      && $b completion fish >$s/fish/vendor_completions.d/$p.fish || exit 1; \
    done \
 && mkdir -p /image/etc/sallyport /image/var/lib/sallyport /image/home/sallyport \
 && echo 'sallyport:x:65532:65532::/home/sallyport:/' >/image/etc/passwd \
 && echo 'sallyport:x:65532:' >/image/etc/group

FROM scratch
COPY --from=build /image/usr /usr
COPY --from=build /image/etc /etc
COPY --from=build --chown=65532:65532 /image/var/lib/sallyport /var/lib/sallyport
COPY --from=build --chown=65532:65532 /image/home/sallyport /home/sallyport
# In this stage: the classic builder loses the attribute in a copy between stages, and the
# modes of directories that are copied themselves.
RUN ["/usr/lib/sallyport/with-capabilities", "--grant", "/var/lib/sallyport", "/home/sallyport"]
ENV HOME=/home/sallyport PATH=/usr/bin
USER 65532:65532
# The exit code is 0 too if the container runs no server.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["/usr/bin/sallyportd", "health", "--container"]
ENTRYPOINT ["/usr/lib/sallyport/with-capabilities", "/usr/bin/sallyportd"]
CMD ["serve"]
ARG VERSION=devel
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Sallyport" \
      org.opencontainers.image.description="A port-knocking server: hides services until a client has knocked" \
      org.opencontainers.image.documentation="container/README.md" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
