package identity

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dsvault/dsv"
)

func TestParseID(t *testing.T) {
	good := "spiffe://vault.example/dsv/keeper/k-1"
	id, err := ParseID(good)
	if err != nil || id != (ID{"vault.example", RoleKeeper, "k-1"}) || id.String() != good || id.url().String() != good {
		t.Fatalf("%v, %v", id, err)
	}
	for _, s := range []string{
		"", "spiffe://", "vault.example/dsv/node/n1", "https://vault.example/dsv/node/n1",
		"spiffe:///dsv/node/n1", "spiffe://VAULT/dsv/node/n1", "spiffe://v:80/dsv/node/n1", "spiffe://u@v/dsv/node/n1",
		"spiffe://v/dsv/node", "spiffe://v/dsv/node/", "spiffe://v/dsv/node/n1/", "spiffe://v/dsv/node/n1/x",
		"spiffe://v/other/node/n1", "spiffe://v/dsv/root/n1", "spiffe://v/dsv/node/N1", "spiffe://v/dsv/node/..",
		"spiffe://v/dsv/node/n1?a", "spiffe://v/dsv/node/n1#a", "spiffe://v/dsv/node/n%31", "spiffe://v//dsv/node/n1",
		"spiffe://v/dsv/node/" + strings.Repeat("a", 65),
	} {
		if id, err := ParseID(s); err == nil {
			t.Errorf("%q accepted as %v", s, id)
		}
	}
}

func TestCASaveLoad(t *testing.T) {
	dir := t.TempDir()
	ca := mustCA(t, domain)
	if err := ca.Save(dir); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(filepath.Join(dir, CAKeyFile)); err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v", st.Mode(), err)
	}
	if err := mustCA(t, domain).Save(dir); err == nil {
		t.Fatal("a CA was overwritten")
	}
	again, err := LoadCA(dir)
	if err != nil || again.TrustDomain() != domain {
		t.Fatal(err)
	}
	if _, err := Load(issueFiles(t, again, ca, RoleNode, "n1", time.Hour)); err != nil {
		t.Errorf("issued after a reload: %v", err)
	}
	if _, _, err := ca.Issue(RoleNode, "N 1", nil, time.Hour); err == nil {
		t.Error("a bad name was issued")
	}
	if _, _, err := ca.Issue("root", "n1", nil, time.Hour); err == nil {
		t.Error("a bad role was issued")
	}
	if _, err := NewCA("Bad Domain", time.Hour); err == nil {
		t.Error("a bad trust domain was accepted")
	}
	other := t.TempDir()
	if err := mustCA(t, domain).Save(other); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(other, CAKeyFile), filepath.Join(dir, CAKeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadCA(dir); err == nil || !strings.Contains(err.Error(), "is not the key of") {
		t.Errorf("mixed CA: %v", err)
	}
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log.key")
	key := NewKey()
	if err := WriteKeyFile(path, key); err != nil {
		t.Fatal(err)
	}
	got, err := ReadKeyFile(path)
	if err != nil || !got.Equal(key) {
		t.Fatalf("read back: %v", err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", st.Mode())
	}
	if err := WriteKeyFile(path, NewKey()); err == nil {
		t.Error("a key was overwritten")
	}
	if got, err := ReadKeyFile(path); err != nil || !got.Equal(key) {
		t.Errorf("after a refused write: %v", err)
	}
	if err := WriteKeyFile(filepath.Join(dir, "short"), dsv.SecretOf(make([]byte, 31))); err == nil {
		t.Error("a short key was written")
	}
	for _, m := range []os.FileMode{0o640, 0o604, 0o620, 0o601} {
		if err := os.Chmod(path, m); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKeyFile(path); err == nil || !strings.Contains(err.Error(), "open to group or others") {
			t.Errorf("mode %04o: %v", m, err)
		}
	}
	if _, err := ReadKeyFile(filepath.Join(dir, "missing")); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("missing: %v", err)
	}
	line := base64.StdEncoding.EncodeToString(key.Reveal())
	for name, s := range map[string]string{
		"empty": "", "junk": "%%%", "short": line[:40], "31": base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"33": base64.StdEncoding.EncodeToString(make([]byte, 33)), "two": line + "\n" + line, "split": line[:20] + "\n" + line[20:],
		"url": strings.Repeat("_", 43) + "=", "space": " " + line, "huge": strings.Repeat("A", maxFile+4),
	} {
		p := filepath.Join(dir, "bad-"+name)
		if err := os.WriteFile(p, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadKeyFile(p); err == nil {
			t.Errorf("%s accepted", name)
		} else if len(s) > 8 && strings.Contains(err.Error(), line[:8]) {
			t.Errorf("%s: the error tells of the key: %v", name, err)
		}
	}
}
