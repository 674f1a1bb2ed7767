package dev

import (
	"bytes"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/dsvault/dsv"
)

// Endpoints are the API's base URLs.
func (c *Cluster) Endpoints() []string {
	var out []string
	for _, n := range c.topo.Nodes {
		out = append(out, "https://"+net.JoinHostPort(n.Host, strconv.Itoa(n.Ports.API)))
	}
	return out
}

// Token is the text of the operator's token; the caller wipes it.
func (c *Cluster) Token() (dsv.Secret, error) {
	if c.mem != nil {
		return clone(c.mem.token), nil
	}
	b, err := os.ReadFile(c.lay.OperatorToken())
	return dsv.SecretOf(bytes.TrimSpace(b)), err
}

// CAPEM is the certificate that clients trust.
func (c *Cluster) CAPEM() ([]byte, error) {
	if c.mem != nil {
		return c.mem.ca.PEM(), nil
	}
	return os.ReadFile(c.lay.CACert())
}

// Exports are the lines to paste into a shell so that dsvctl finds the
// cluster. For a cluster in memory the token itself is among them.
func (c *Cluster) Exports() []string {
	ca, token := "DSV_CA="+c.lay.CACert(), "DSV_TOKEN_FILE="+c.lay.OperatorToken()
	if c.mem != nil {
		ca, token = "DSV_CA_PEM='"+string(c.mem.ca.PEM())+"'", "DSV_TOKEN="+string(c.mem.token.Reveal())
	}
	return []string{
		"export DSV_ADDR=" + strings.Join(c.Endpoints(), ","),
		"export " + ca,
		"export " + token,
		"export DSV_NAMESPACE=dev",
	}
}
