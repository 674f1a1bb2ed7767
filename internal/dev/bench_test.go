package dev_test

import (
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
	"github.com/dsvault/dsv/internal/dev"
)

// The whole path in one process, over HTTPS: where its time goes is what
// -cpuprofile tells. Figures to quote come from tests/bench.
func BenchmarkPath(b *testing.B) {
	c, err := dev.Start(b.Context(), dev.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	text, err := c.Token()
	if err != nil {
		b.Fatal(err)
	}
	cl, err := client.New(client.Config{Endpoints: c.Endpoints()[:1], CAFile: c.Layout().CACert(), Token: text, NoAutoKeys: true})
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
	var seq atomic.Int64
	value := func() dsv.Secret {
		v := make([]byte, 256)
		_, _ = rand.Read(v)
		return dsv.SecretOf(v)
	}
	name := func(n int64) dsv.Path {
		p, err := dsv.ParsePath(fmt.Sprintf("bench/%d", n%48), fmt.Sprintf("K%d", n))
		if err != nil {
			b.Fatal(err)
		}
		return p
	}
	b.Run("create", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := cl.Create(b.Context(), name(seq.Add(1)), value(), nil); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("create-alone", func(b *testing.B) {
		for range b.N {
			if _, err := cl.Create(b.Context(), name(seq.Add(1)), value(), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	for range 200 {
		if _, err := cl.Create(b.Context(), name(seq.Add(1)), value(), nil); err != nil {
			b.Fatal(err)
		}
	}
	made := seq.Load()
	b.Run("read", func(b *testing.B) {
		b.SetParallelism(32)
		var n atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := cl.Get(b.Context(), name(n.Add(1)%made+1), nil); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
