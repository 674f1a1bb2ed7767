# syntax=docker/dockerfile:1
# Both commands, static, on nothing else. Every process runs as 1000:1000, as
# the Kafka image does, so that all can read what `dsvctl init` writes.

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=auto -ldflags "-s -w" -o /out/usr/local/bin/ ./cmd/...
# /etc/dsv: what a process starts from. /var/lib/dsv: the store of a node.
# /cluster: the directory of `dsvctl init`.
RUN install -d -o 1000 -g 1000 -m 0700 /out/etc/dsv /out/var/lib/dsv /out/cluster && install -d -m 1777 /out/tmp

FROM scratch
COPY --from=build /out/ /
ENV PATH=/usr/local/bin
USER 1000:1000
EXPOSE 8400 8401 8402/tcp 8402/udp 8410
ENTRYPOINT ["dsvnode"]
CMD ["--help"]
