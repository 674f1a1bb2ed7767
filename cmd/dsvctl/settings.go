package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

// flags are the global flags as they were given.
type flags struct {
	addr                             []string
	tokenFile, ca, namespace, output string
	timeout                          time.Duration
}

func (f *flags) register(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.addr, "addr", nil, "nodes to ask, https://host:port; repeat or separate with commas (DSV_ADDR)")
	fs.StringVar(&f.tokenFile, "token-file", "", "file with the token (DSV_TOKEN, DSV_TOKEN_FILE)")
	fs.StringVar(&f.ca, "ca", "", "file with the CA's certificate, PEM (DSV_CA, or its text in DSV_CA_PEM)")
	fs.StringVarP(&f.namespace, "namespace", "n", "", "namespace, like team-a/app (DSV_NAMESPACE)")
	fs.StringVarP(&f.output, "output", "o", "", "table, json or yaml")
	fs.DurationVar(&f.timeout, "timeout", 0, "time for one call in all, retries included (default 15s)")
}

// fileSettings is the configuration file, $XDG_CONFIG_HOME/dsv/config.yaml.
type fileSettings struct {
	Addr      addrs         `yaml:"addr"`
	TokenFile string        `yaml:"token_file"`
	CA        string        `yaml:"ca"`
	Namespace string        `yaml:"namespace"`
	Output    string        `yaml:"output"`
	Timeout   time.Duration `yaml:"timeout"`
}

// addrs is one address or a list of them.
type addrs []string

func (a *addrs) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*a = strings.Split(n.Value, ",")
		return nil
	}
	return n.Decode((*[]string)(a))
}

// settings is what counts: flags before the environment before the file.
type settings struct {
	addr      []string
	token     dsv.Secret
	tokenFile string
	ca        string
	caPEM     string // one of ca and caPEM at most
	namespace string
	output    string
	timeout   time.Duration
}

// load works the settings out. It opens no connection.
func (a *app) load(cmd *cobra.Command) error {
	file, err := readSettings(a.configFile())
	if err != nil {
		return err
	}
	s := &a.set
	s.addr = a.flags.addr
	if len(s.addr) == 0 && a.getenv("DSV_ADDR") != "" {
		s.addr = strings.Split(a.getenv("DSV_ADDR"), ",")
	}
	if len(s.addr) == 0 {
		s.addr = file.Addr
	}
	if s.ca = a.flags.ca; s.ca == "" {
		s.caPEM = a.getenv("DSV_CA_PEM")
	}
	if s.ca == "" && s.caPEM == "" {
		s.ca = first(a.getenv("DSV_CA"), file.CA)
	}
	s.namespace = first(a.flags.namespace, a.getenv("DSV_NAMESPACE"), file.Namespace)
	s.output = first(a.flags.output, file.Output, "table")
	s.tokenFile = a.flags.tokenFile
	if t := a.getenv("DSV_TOKEN"); s.tokenFile == "" && t != "" {
		s.token = dsv.SecretOf([]byte(strings.TrimSpace(t)))
	} else {
		s.tokenFile = first(s.tokenFile, a.getenv("DSV_TOKEN_FILE"), file.TokenFile)
	}
	s.timeout = file.Timeout
	if cmd.Flags().Changed("timeout") {
		s.timeout = a.flags.timeout
	}
	if s.timeout < 0 || cmd.Flags().Changed("timeout") && s.timeout == 0 {
		return usage("timeout must be more than 0")
	}
	if s.output != "table" && s.output != "json" && s.output != "yaml" {
		return usage("output must be table, json or yaml")
	}
	return nil
}

func first(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

func (a *app) configFile() string {
	dir := a.getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		home := a.getenv("HOME")
		if home == "" {
			return ""
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "dsv", "config.yaml")
}

// readSettings reads the file; one that does not exist says nothing.
func readSettings(path string) (fileSettings, error) {
	var s fileSettings
	if path == "" {
		return s, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, usage(err.Error())
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&s); err != nil && !errors.Is(err, io.EOF) {
		return s, usage(path + ": " + err.Error())
	}
	return s, nil
}

// client is a client by the settings.
func (a *app) client() (*client.Client, error) {
	s := &a.set
	if len(s.addr) == 0 {
		return nil, usage("no node to ask: give --addr, or set DSV_ADDR")
	}
	if s.tokenFile != "" {
		token, err := a.readToken(s.tokenFile)
		if err != nil {
			return nil, err
		}
		s.token = token
	}
	return client.New(client.Config{
		Endpoints: s.addr, Token: s.token, CAFile: s.ca, CAPEM: []byte(s.caPEM), Timeout: s.timeout, UserAgent: "dsvctl/" + version(),
	})
}

func (a *app) readToken(path string) (dsv.Secret, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return dsv.Secret{}, usage("token file: " + err.Error())
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		a.note("warning: %s may be read by others than its owner: chmod 600", path)
	}
	return dsv.SecretOf(bytes.TrimSpace(b)), nil
}

// namespace is the one the settings name.
func (a *app) namespace() (dsv.Namespace, error) {
	if a.set.namespace == "" {
		return dsv.Namespace{}, usage("no namespace: give -n, or set DSV_NAMESPACE")
	}
	return dsv.ParseNamespace(a.set.namespace)
}

// path reads [NS:]KEY.
func (a *app) path(arg string) (dsv.Path, error) {
	if ns, key, ok := strings.Cut(arg, ":"); ok {
		return dsv.ParsePath(ns, key)
	}
	ns, err := a.namespace()
	if err != nil {
		return dsv.Path{}, err
	}
	key, err := dsv.ParseKey(arg)
	return dsv.Path{NS: ns, Key: key}, err
}
