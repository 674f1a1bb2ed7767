package shard

import (
	"fmt"
	"testing"

	"github.com/dsvault/dsv"
)

var benchSizes = []int{32, 256, 4 << 10, 64 << 10, 1 << 20}

func BenchmarkSeal(b *testing.B) {
	q, bind := quorums[1], testBinding("BENCH")
	for _, size := range benchSizes {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			value := dsv.SecretOf(randomBytes(size))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Seal(q, bind, value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCombine(b *testing.B) {
	q, bind := quorums[1], testBinding("BENCH")
	for name, ranks := range map[string][]int{"data": {0, 1, 2}, "parity": {2, 3, 4}} {
		for _, size := range benchSizes {
			b.Run(fmt.Sprint(name, "/", size), func(b *testing.B) {
				s := seal(b, q, bind, randomBytes(size))
				digests, shards := digestsOf(s), pick(s, ranks...)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					if _, _, err := Combine(q, bind, digests, shards); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
