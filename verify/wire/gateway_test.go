package wire

import (
	"encoding/hex"
	"strings"
	"testing"
)

func TestGatewayVectors(t *testing.T) {
	var file struct {
		Keys   []struct{ ID, Secret, Gateway, Key string }
		Knocks []struct{ ID, Datagram string }
		Names  []struct{ ID, Name string }
	}
	readJSON(t, "testdata/gateways.json", &file)
	keys, seen := map[string]string{}, map[string]string{}
	for _, v := range file.Keys {
		got, err := GatewayKey([]byte(v.Secret), v.Gateway)
		if err != nil || string(got) != v.Key {
			t.Errorf("%s: got %s, %v, want %s", v.ID, got, err, v.Key)
		}
		if other, ok := seen[v.Key]; ok {
			t.Errorf("%s and %s have the same key", v.ID, other)
		}
		keys[v.ID], seen[v.Key] = v.Key, v.ID
	}
	for _, v := range file.Knocks {
		b, err := hex.DecodeString(v.Datagram)
		if err != nil {
			t.Fatal(err)
		}
		k, err := Parse(b)
		if err != nil || k.Sign([]byte(keys[v.ID])).MAC != k.MAC {
			t.Errorf("%s: the key does not make the knock (%v)", v.ID, err)
		}
		if k.Sign([]byte("com1_secret")).MAC == k.MAC {
			t.Errorf("%s: the secret itself makes the knock", v.ID)
		}
	}
	for _, v := range file.Names {
		if key, err := GatewayKey([]byte("com1_secret"), v.Name); err == nil {
			t.Errorf("%s: got the key %s", v.ID, key)
		}
	}
	if len(seen) < 8 || len(file.Knocks) < 1 || len(file.Names) < 6 {
		t.Errorf("%d keys, %d knocks, %d names", len(seen), len(file.Knocks), len(file.Names))
	}
}

// TestGatewayMessageIsNoOther: no other message under a client's secret is that of a
// gateway's key, whatever the name is.
func TestGatewayMessageIsNoOther(t *testing.T) {
	m := string(AppendGatewayMessage(nil, strings.Repeat("a", MaxGatewayName)))
	for _, other := range []string{Magic, closingLabel, isnLabel} {
		if strings.HasPrefix(m, other) || strings.HasPrefix(other, gatewayLabel) {
			t.Errorf("the message %q, and one that begins with %q", m, other)
		}
	}
	if n := len(AppendGatewayMessage(nil, "a")); n == SignedSize {
		t.Errorf("a message has %d bytes, as that of a knock", n)
	}
}
