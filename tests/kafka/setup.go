package kafka

import (
	"bytes"
	"context"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed pom.xml
var pom []byte

// fetch fills libs with the jars that pom.xml names, unless it has been filled.
func fetch(ctx context.Context, libs string) error {
	done := filepath.Join(libs, "complete")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	if err := os.MkdirAll(libs, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "kafka-pom")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(file, pom, 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "-f", file, "dependency:copy-dependencies", "-DoutputDirectory="+libs)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kafka: fetch the jars with Maven: %w\n%s", err, tail(out))
	}
	return os.WriteFile(done, nil, 0o644)
}

// path is a file of broker i.
func (c *Cluster) path(i int, name string) string {
	return filepath.Join(c.dir, "n"+strconv.Itoa(i), name)
}

// format writes the settings of broker i and prepares its data directory.
func (c *Cluster) format(ctx context.Context, i int) error {
	if err := os.MkdirAll(c.path(i, "data"), 0o755); err != nil {
		return err
	}
	text, err := c.properties(i)
	if err != nil {
		return err
	}
	file := c.path(i, "server.properties")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-cp", filepath.Join(c.state.Options.Libs, "*"), "kafka.tools.StorageTool", "format", "-t", c.state.ID, "-c", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kafka: format broker %d: %w\n%s", i, err, tail(out))
	}
	return nil
}

// properties are the settings of broker i.
func (c *Cluster) properties(i int) ([]byte, error) {
	me, n := c.state.Brokers[i-1], len(c.state.Brokers)
	var voters []string
	for k, b := range c.state.Brokers {
		voters = append(voters, fmt.Sprintf("%d@%s", k+1, loopback(b.Control)))
	}
	listeners := "PLAINTEXT://" + loopback(me.Plain)
	if c.state.Options.TLSDir != "" {
		listeners += ",SSL://" + loopback(me.TLS)
	}
	var b bytes.Buffer
	set := func(key string, value any) { fmt.Fprintf(&b, "%s=%v\n", key, value) }
	set("process.roles", "broker,controller")
	set("node.id", i)
	set("controller.quorum.voters", strings.Join(voters, ","))
	set("listeners", listeners+",CONTROLLER://"+loopback(me.Control))
	set("advertised.listeners", listeners)
	set("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,SSL:SSL,CONTROLLER:PLAINTEXT")
	set("inter.broker.listener.name", "PLAINTEXT")
	set("controller.listener.names", "CONTROLLER")
	set("log.dirs", c.path(i, "data"))
	set("auto.create.topics.enable", false)
	set("offsets.topic.replication.factor", min(n, 3))
	set("transaction.state.log.replication.factor", min(n, 3))
	set("transaction.state.log.min.isr", min(n, 2))
	set("share.coordinator.state.topic.replication.factor", min(n, 3))
	set("share.coordinator.state.topic.min.isr", min(n, 2))
	set("num.network.threads", 2)
	set("num.io.threads", 4)
	if c.state.Options.TLSDir != "" {
		if err := c.tls(i, set); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// tls makes the PEM key store of broker i: Kafka wants key and certificate in
// one file.
func (c *Cluster) tls(i int, set func(string, any)) error {
	read := func(names ...string) ([]byte, error) {
		var text []byte
		var err error
		for _, name := range names {
			if text, err = os.ReadFile(filepath.Join(c.state.Options.TLSDir, name)); err == nil {
				return text, nil
			}
		}
		return nil, fmt.Errorf("kafka: %w", err)
	}
	ca, err := read("ca.crt", "ca.pem")
	if err != nil {
		return err
	}
	cert, err := read("tls.crt", "cert.crt", "cert.pem")
	if err != nil {
		return err
	}
	key, err := read("tls.key", "cert.key", "key.pem")
	if err != nil {
		return err
	}
	if key, err = pkcs8(key); err != nil {
		return err
	}
	store, trust := c.path(i, "keystore.pem"), c.path(i, "truststore.pem")
	if err := os.WriteFile(store, append(append(key, '\n'), cert...), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(trust, ca, 0o644); err != nil {
		return err
	}
	set("ssl.keystore.type", "PEM")
	set("ssl.keystore.location", store)
	set("ssl.truststore.type", "PEM")
	set("ssl.truststore.location", trust)
	set("ssl.client.auth", "required")
	set("ssl.enabled.protocols", "TLSv1.3")
	return nil
}

// pkcs8 turns a key in PEM into the one form that Kafka reads.
func pkcs8(text []byte) ([]byte, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("kafka: the key is not PEM")
	}
	if block.Type != "EC PRIVATE KEY" {
		return text, nil
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
