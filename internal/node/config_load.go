package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/internal/identity"
)

// maxConfigFile bounds a configuration file in bytes.
const maxConfigFile = 1 << 20

// overrides are the environment variables that stand above a node's file, each
// with the key it replaces.
var overrides = []struct {
	Env, Key string
	field    func(*Config) *string
}{
	{"DSV_DATA_DIR", "node.data_dir", func(c *Config) *string { return &c.Node.DataDir }},
	{"DSV_API_LISTEN", "api.listen", func(c *Config) *string { return &c.API.Listen }},
	{"DSV_PEER_LISTEN", "peer.listen", func(c *Config) *string { return &c.Peer.Listen }},
	{"DSV_GOSSIP_LISTEN", "gossip.listen", func(c *Config) *string { return &c.Gossip.Listen }},
	{"DSV_LOG_LEVEL", "telemetry.log_level", func(c *Config) *string { return &c.Telemetry.LogLevel }},
	{"DSV_LOG_FORMAT", "telemetry.log_format", func(c *Config) *string { return &c.Telemetry.LogFormat }},
}

// EnvVars are the names of the environment variables that stand above a node's
// file.
func EnvVars() []string {
	names := make([]string, len(overrides))
	for i, o := range overrides {
		names[i] = o.Env
	}
	return names
}

// Env looks a variable up; os.LookupEnv is one. A nil Env has none.
type Env func(string) (string, bool)

// LoadConfig reads a node's configuration file over DefaultConfig, puts the
// DSV_ variables of env above it and checks all of it, also that the files it
// names are there and belong to this node. Every fault is reported at once in
// one KindInvalid error (exit code 2), with path and line. Relative paths
// count from the folder of the file; those in the result are absolute.
func LoadConfig(path string, env Env) (Config, error) {
	text, err := readConfig(path)
	if err != nil {
		return Config{}, err
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Config{}, err
	}
	f := &Faults{}
	c := f.node(text, dir, env)
	if !f.Unread() {
		c.checkOnDisk(f)
	}
	if err := f.Err("config", path); err != nil {
		return Config{}, err
	}
	return c, nil
}

// ParseConfig is LoadConfig of a text, without looking at the files it names.
// Relative paths count from dir.
func ParseConfig(text []byte, dir string, env Env) (Config, error) {
	f := &Faults{}
	c := f.node(text, dir, env)
	if err := f.Err("config", ""); err != nil {
		return Config{}, err
	}
	return c, nil
}

func (f *Faults) node(text []byte, dir string, env Env) Config {
	c := DefaultConfig()
	f.DecodeYAML(text, &c)
	if f.Unread() {
		return c
	}
	for _, o := range overrides {
		if env == nil {
			break
		}
		if v, ok := env(o.Env); ok {
			*o.field(&c) = v
			f.lines[o.Key] = 0
			if v == "" {
				f.Add(o.Key, "is emptied by %s: give it a value or unset it", o.Env)
			}
		}
	}
	c.resolve(dir)
	c.check(f)
	return c
}

func readConfig(path string) ([]byte, error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Op: "config", Path: path, Detail: "there is no such file: `dsvctl init` writes one per node"}
	case err != nil:
		return nil, &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Op: "config", Path: path, Detail: "cannot be read", Err: err}
	case !st.Mode().IsRegular() || st.Size() > maxConfigFile:
		return nil, &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Op: "config", Path: path, Detail: "is not a file of at most 1 MiB"}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &dsv.Error{Kind: dsv.KindInvalid, Code: dsv.CodeInvalid, Op: "config", Path: path, Detail: "cannot be read", Err: err}
	}
	return text, nil
}

func (c *Config) resolve(dir string) {
	for _, p := range []*string{&c.Node.DataDir, &c.Keys.Log, &c.Keys.Gossip} {
		*p = under(dir, *p)
	}
	c.Identity.resolve(dir)
	c.APIIdentity.resolve(dir)
}

func (x *Files) resolve(dir string) {
	x.CA, x.Cert, x.Key = under(dir, x.CA), under(dir, x.Cert), under(dir, x.Key)
}

func under(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// checkOnDisk looks at the files that c names. Paths that have a fault
// already are left out.
func (c *Config) checkOnDisk(f *Faults) {
	checkIdentity(f, "identity", c.Identity, identity.RoleNode, string(c.Node.ID))
	if c.APIIdentity != c.Identity {
		checkIdentity(f, "api_identity", c.APIIdentity, "", "")
	}
	checkKey(f, "keys.log", c.Keys.Log)
	checkKey(f, "keys.gossip", c.Keys.Gossip)
	if st, err := os.Stat(c.Node.DataDir); err == nil && !st.IsDir() {
		f.Add("node.data_dir", "%s is not a folder", c.Node.DataDir)
	}
}

// checkIdentity loads the three files and, with a role, holds the certificate
// to it and to the name.
func checkIdentity(f *Faults, path string, x Files, role identity.Role, name string) {
	if f.Has(path+".ca") || f.Has(path+".cert") || f.Has(path+".key") {
		return
	}
	id, err := identity.Load(identity.Files(x))
	switch {
	case err != nil:
		for line := range strings.SplitSeq(err.Error(), "\n") {
			f.also(path, strings.TrimPrefix(line, "identity: "))
		}
	case role != "" && (id.ID().Role != role || name != "" && id.ID().Name != name):
		f.Add(path+".cert", "is the certificate of %s: use that of %s", id.ID(), strings.TrimSpace(fmt.Sprint(role, " ", name)))
	}
}

func checkKey(f *Faults, path, file string) {
	if f.Has(path) {
		return
	}
	key, err := identity.ReadKeyFile(file)
	if err != nil {
		f.Add(path, "%s", strings.TrimPrefix(err.Error(), "identity: "))
	}
	key.Wipe()
}
