# Builds the image from a checkout:
#
#   docker build -t sallyport --build-arg VERSION=v1.2.3 .
#
# The image holds both programs, static, their manual pages and completions, and
# no other program. VERSION is what --version and the image's labels name.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
# .dockerignore lists the files that these directories bring.
COPY cmd cmd
COPY ingest ingest
COPY sessions sessions
COPY verify verify
ENV CGO_ENABLED=0
# This compiles the packages. The step below only links them, so that another
# VERSION builds in seconds.
RUN go build -trimpath ./cmd/sallyport ./cmd/sallyportd
ARG VERSION=devel
RUN go build -trimpath -ldflags="-s -w -X sallyport/cmd/internal/cli.given=$VERSION" -o /image/usr/bin/ ./cmd/sallyport ./cmd/sallyportd
# The programs write their manual pages and completions.
RUN for p in sallyport sallyportd; do \
      b=/image/usr/bin/$p; s=/image/usr/share; \
      mkdir -p $s/bash-completion/completions $s/zsh/site-functions $s/fish/vendor_completions.d; \
      $b man $s/man/man1; \
      $b completion bash >$s/bash-completion/completions/$p; \
      $b completion zsh >$s/zsh/site-functions/_$p; \
      $b completion fish >$s/fish/vendor_completions.d/$p.fish; \
    done
RUN mkdir -p /image/etc/sallyport /image/var/lib/sallyport /image/home/sallyport \
 && echo 'sallyport:x:65532:65532::/home/sallyport:/' >/image/etc/passwd \
 && echo 'sallyport:x:65532:' >/image/etc/group \
 && chmod 700 /image/var/lib/sallyport /image/home/sallyport

FROM scratch
ARG VERSION=devel
LABEL org.opencontainers.image.title="Sallyport" \
      org.opencontainers.image.description="A port-knocking server: hides services until a client has knocked" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /image/usr /usr
COPY --from=build /image/etc /etc
COPY --from=build --chown=65532:65532 /image/var/lib/sallyport /var/lib/sallyport
COPY --from=build --chown=65532:65532 /image/home/sallyport /home/sallyport
ENV HOME=/home/sallyport PATH=/usr/bin
USER 65532:65532
ENTRYPOINT ["/usr/bin/sallyportd"]
CMD ["serve"]
