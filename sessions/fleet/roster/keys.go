package roster

import (
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sallyport/verify/wire"
)

// Names of keys, after the prefix of the Cluster. Generations sort before the others.
const (
	root = "clients/"
	// listName is the manifest.
	listName = "list"
	// claimName has the generation of the Replace that runs, or that was killed.
	claimName = "new"
)

func (r *Roster) listKey() string  { return r.cfg.Cluster.Key(root + listName) }
func (r *Roster) claimKey() string { return r.cfg.Cluster.Key(root + claimName) }

func (r *Roster) entryKey(g generation, id wire.Identifier) string {
	return r.cfg.Cluster.Key(root + g.String() + "/" + string(id[:]))
}

// parseName parses the name of an entry's key, after root. An identifier may contain a slash.
func parseName(name string) (g generation, id wire.Identifier, ok bool) {
	text, rest, _ := strings.Cut(name, "/")
	if g, ok = parseGeneration(text); !ok || len(rest) != len(id) {
		return g, id, false
	}
	return g, wire.Identifier([]byte(rest)), true
}

// unchanged compares a key with a value that was read; nil: it did not exist. The
// revision would not do: another history of etcd can reach the same number. The values
// are random, so that none occurs twice.
func unchanged(key string, value []byte) clientv3.Cmp {
	if value == nil {
		return clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	}
	return clientv3.Compare(clientv3.Value(key), "=", string(value))
}

// valueOf returns the value of a key that was read, or nil.
func valueOf[K interface{ GetValue() []byte }](kvs []K) []byte {
	if len(kvs) == 0 {
		return nil
	}
	return append([]byte{}, kvs[0].GetValue()...) // not nil
}

// has reports whether a key belongs to the generation.
func (g generation) has(name string) bool { return strings.HasPrefix(name, g.String()+"/") }
