# Builds from a clean checkout: docker build -t sallyport .
# Both programs, static, in an image with nothing else that runs.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ENV CGO_ENABLED=0
RUN go build -trimpath -ldflags="-s -w" -o /image/usr/bin/ ./cmd/sallyport ./cmd/sallyportd
# Manual pages and completions come out of the programs themselves.
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
COPY --from=build /image/usr /usr
COPY --from=build /image/etc /etc
COPY --from=build --chown=65532:65532 /image/var/lib/sallyport /var/lib/sallyport
COPY --from=build --chown=65532:65532 /image/home/sallyport /home/sallyport
ENV HOME=/home/sallyport PATH=/usr/bin
USER 65532:65532
ENTRYPOINT ["/usr/bin/sallyportd"]
CMD ["serve"]
