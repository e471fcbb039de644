package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sallyport/verify/wire"
)

// TestAtGateways: the key of each gateway is that of the specification's vectors, whether
// the secret is in memory or elsewhere.
func TestAtGateways(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../verify/wire/testdata/gateways.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Keys []struct{ Secret, Gateway, Key string }
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Keys) == 0 {
		t.Fatal(err)
	}
	for _, v := range file.Keys {
		p := Profile{PortSecret: "port", Gateways: []Gateway{{Name: "first", Server: "192.0.2.1"}, {Name: v.Gateway, Server: "192.0.2.2", FirstNonce: 7}}}
		held := p
		p.Secret, held.Signer = []byte(v.Secret), &countingSigner{Signer: SecretSigner(v.Secret)}
		for _, p := range []Profile{p, held} {
			all, err := p.AtGateways(t.Context())
			if err != nil || len(all) != 2 {
				t.Fatalf("%d profiles, %v", len(all), err)
			}
			one := all[1]
			if string(one.Secret) != v.Key || one.Signer != nil || one.Server != "192.0.2.2" || one.FirstNonce != 7 || len(one.Gateways) != 0 {
				t.Errorf("%s: got %+v", v.Gateway, one)
			}
		}
		if n := held.Signer.(*countingSigner).calls; n != 1 {
			t.Errorf("a device was asked %d times", n)
		}
	}
	for name, p := range map[string]Profile{
		"no secret":    {PortSecret: "port", Gateways: []Gateway{{Name: "a", Server: "192.0.2.1"}}},
		"a name twice": {Gateways: []Gateway{{Name: "a", Server: "192.0.2.1"}, {Name: "a", Server: "192.0.2.2"}}},
		"a bad name":   {Gateways: []Gateway{{Name: "a b", Server: "192.0.2.1"}}},
		"a bad server": {Gateways: []Gateway{{Name: "a", Server: "192.0.2.300"}}},
		"no server":    {Gateways: []Gateway{{Name: "a"}}},
		"too many":     {Gateways: make([]Gateway, MaxGateways+1)},
	} {
		if all, err := p.AtGateways(t.Context()); err == nil {
			t.Errorf("%s: %d profiles", name, len(all))
		}
	}
	failing := Profile{PortSecret: "port", Signer: failingSigner{}, Gateways: []Gateway{{Name: "a", Server: "192.0.2.1"}}}
	_, err = failing.AtGateways(t.Context())
	var signing *SigningError
	if !errors.As(err, &signing) || !signing.Unsent() {
		t.Errorf("a device that fails: %v", err)
	}
	if err := failing.validate(); err == nil {
		t.Error("a client may knock with the profile of several gateways")
	}
}

// countingSigner counts the calls of a Signer.
type countingSigner struct {
	Signer
	calls int
}

func (s *countingSigner) Sign(ctx context.Context, messages ...[]byte) ([]MAC, error) {
	s.calls++
	return s.Signer.Sign(ctx, messages...)
}

type failingSigner struct{}

func (failingSigner) Sign(context.Context, ...[]byte) ([]MAC, error) {
	return nil, errors.New("no device")
}

// TestGatewaysTry: the turns of gateways, of which some answer, are silent or have no
// address.
func TestGatewaysTry(t *testing.T) {
	t.Parallel()
	silent := func(server string) error {
		return &OfflineError{Server: server, Reason: ReasonNoAnswer, Attempts: 1, Certain: []string{"no answer"}}
	}
	closed := &OfflineError{Server: "gw2", Reason: ReasonNotListening}
	expired := &OfflineError{Reason: ReasonExpired}
	unresolved := &ResolveError{}
	other := errors.New("a damaged file")
	remembered := filepath.Join(t.TempDir(), "state", "gateways")
	p := Profile{Identifier: wire.Identifier([]byte("com1"))}
	for _, name := range []string{"gw1", "gw2", "gw3"} {
		p.Gateways = append(p.Gateways, Gateway{Name: name, Server: name})
	}
	sent := errors.New("sent")
	for i, row := range []struct {
		results  map[string]error // nil: opens; sent: unconfirmed; missing: silent
		once     bool
		want     string // the turns; brief ones with a question mark, the last with a dot
		reports  string
		wantsErr error
	}{
		{map[string]error{"gw1": nil}, false, "gw1?", "", nil},
		{map[string]error{"gw2": nil, "gw3": nil}, false, "gw1? gw2?", "gw1-gw2", nil},
		{map[string]error{"gw1": nil, "gw3": nil}, false, "gw2? gw1?", "gw2-gw1", nil}, // gw2 has answered last
		{nil, true, "gw1? gw2? gw3?.", "gw1-gw2 gw2-gw3", silent("gw1")},
		{nil, false, "gw1? gw2? gw3? gw1 gw2 gw3.", "gw1-gw2 gw2-gw3 gw3-gw1 gw1-gw2 gw2-gw3", silent("gw1")},
		{map[string]error{"gw2": closed}, true, "gw1? gw2? gw3?.", "gw1-gw2 gw2-gw3", closed},
		{map[string]error{"gw1": unresolved, "gw2": unresolved, "gw3": unresolved}, true, "gw1? gw2? gw3?.", "gw1-gw2 gw2-gw3", unresolved},
		{map[string]error{"gw1": unresolved}, true, "gw1? gw2? gw3?.", "gw1-gw2 gw2-gw3", silent("gw1")},
		{map[string]error{"gw1": expired}, false, "gw1?", "", expired},
		{map[string]error{"gw1": other}, false, "gw1?", "", other},
		{map[string]error{"gw1": sent, "gw2": sent}, false, "gw1? gw2? gw3?", "", nil},
		{map[string]error{"gw1": sent, "gw3": nil}, false, "gw1? gw2? gw3?", "gw2-gw3", nil},
		{map[string]error{"gw3": nil}, false, "gw3?", "", nil},
	} {
		g := Gateways{Names: []string{"gw1", "gw2", "gw3"}, Remembered: NewGatewayFile(remembered, p), Once: row.once}
		var turns, reports []string
		g.Report = func(e Event) {
			s := e.(Switching)
			reports = append(reports, s.From+"-"+s.To)
		}
		err := g.Try(t.Context(), func(_ context.Context, turn Turn) (bool, error) {
			name := g.Names[turn.Gateway]
			text := name
			if turn.Brief {
				text += "?"
			}
			if turn.Last {
				text += "."
			}
			turns = append(turns, text)
			err, known := row.results[name]
			switch {
			case !known:
				return false, silent(name)
			case err == sent:
				return false, nil
			}
			return err == nil, err
		})
		if got := strings.Join(turns, " "); got != row.want {
			t.Errorf("row %d: turns %s, want %s", i, got, row.want)
		}
		if got := strings.Join(reports, " "); got != row.reports {
			t.Errorf("row %d: reports %s, want %s", i, got, row.reports)
		}
		if (err == nil) != (row.wantsErr == nil) || ReasonOf(err) != ReasonOf(row.wantsErr) || ReasonOf(err) == "" && !errors.Is(err, row.wantsErr) {
			t.Errorf("row %d: got %v, want %v", i, err, row.wantsErr)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	g := Gateways{Names: []string{"gw1", "gw2"}}
	n := 0
	err := g.Try(ctx, func(context.Context, Turn) (bool, error) {
		n++
		cancel()
		return false, silent("gw1")
	})
	if n != 1 || err == nil {
		t.Errorf("%d turns after an interrupt, %v", n, err)
	}
}

// TestGatewayFile: the file has a line for each profile, is bounded, and lines of another
// form count for nothing.
func TestGatewayFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "gateways")
	of := func(i int) GatewayFile {
		return NewGatewayFile(path, Profile{Identifier: wire.Identifier([]byte(fmt.Sprintf("c%03d", i)))})
	}
	for i := range 2 * maxGatewayLines {
		of(i).remember("gw1")
		of(i).remember("gw2")
	}
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), "\n") != maxGatewayLines+1 {
		t.Fatalf("%v\n%s", err, text)
	}
	last := of(2*maxGatewayLines - 1)
	if got := last.remembered() + of(0).remembered(); got != "gw2" {
		t.Errorf("got %q", got)
	}
	for _, damaged := range []string{
		strings.Replace(string(text), "1", "2", 1), strings.ReplaceAll(string(text), "gw2", "g/w"),
		strings.TrimSuffix(string(text[:strings.Index(string(text), "gw2")]), "\n"), strings.ReplaceAll(string(text), " ", ""),
	} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := last.remembered(); got != "" {
			t.Errorf("%.60q: got %q", damaged, got)
		}
	}
	(GatewayFile{}).remember("gw1")
	other := NewGatewayFile(path, Profile{Identifier: wire.Identifier([]byte("c001")), Gateways: []Gateway{{Name: "gw1"}}})
	if slices.Contains([]string{last.of, of(1).of}, other.of) {
		t.Error("profiles with other gateways share a line")
	}
}
