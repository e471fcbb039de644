package page

import (
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"strings"
	"testing"

	"sallyport/verify/challenge/carrier"
	"sallyport/verify/challenge/exchange"
)

// TestVectors runs the script's protocol with the vectors of exchanges, forms, pages and
// masks.
func TestVectors(t *testing.T) {
	p := startBrowser(t).open(t)
	p.show([]byte("<!DOCTYPE html><title>x</title>"))
	p.run(protocol, nil)
	const challenges = "../../../../verify/challenge/"
	t.Run("exchanges", func(t *testing.T) { p.exchanges(t, challenges+"exchange/testdata/vectors.json") })
	t.Run("carried", func(t *testing.T) { p.carried(t, challenges+"carrier/testdata/vectors.json") })
	t.Run("masks", func(t *testing.T) { p.masks(t, "../../../../verify/schedule/testdata/hops.json") })
}

func readVectors(t *testing.T, path string, to any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// vector is an exchange.
type vector struct {
	ID, Operation, Secret        string
	Algorithm                    exchange.Algorithm
	Self, Public, Client, Server netip.Addr
	NonceA                       string `json:"nonce_a"`
	NonceB                       string `json:"nonce_b"`
	Port                         uint16
	Request, Challenge, Response string
	Exchange                     uint64
	RequestPath                  string `json:"request_path"`
	ResponsePath                 string `json:"response_path"`
	Text                         string
}

// answered is what the script made of a challenge.
type answered struct {
	Request, Response, Client string
	Port                      uint16
}

// answer lets the script make a request, and respond to a challenge.
func (p *tab) answer(t *testing.T, v vector, kind carrier.Kind, self, challenge string) *answered {
	t.Helper()
	arguments, err := json.Marshal(map[string]any{
		"id": v.Operation, "secret": v.Secret, "algorithm": v.Algorithm, "random": v.Port != 0,
		"server": hex.EncodeToString(v.Server.AsSlice()), "self": self, "nonce": v.NonceB, "kind": kind, "challenge": challenge,
		"x": hex.EncodeToString(carrier.ClientOf(carrier.Exchange(v.Exchange)).AsSlice()[9:]),
	})
	if err != nil {
		t.Fatal(err)
	}
	var a *answered
	p.run(`(async (v) => {
		const random = (n) => fromHex(n === exchangeSize ? v.x : v.nonce);
		const op = { ...v, server4: v.server, server6: v.server, serverConnection: v.server };
		const e = begin(op, v.kind, random);
		if (v.self) e.self = fromHex(v.self);
		const hex = (b) => Array.from(b, (c) => c.toString(16).padStart(2, "0")).join("");
		const r = await respond(e, fromHex(v.challenge));
		return r && { request: await requestOf(e, 0), response: r.form, client: addressText(r.client), port: r.port };
	})(`+string(arguments)+`)`, &a)
	return a
}

// form returns the body of a POST with a message.
func form(t *testing.T, kind carrier.Kind, x uint64, message string) string {
	t.Helper()
	b, err := hex.DecodeString(message)
	if err != nil {
		t.Fatal(err)
	}
	m, err := carrier.New(kind, carrier.Exchange(x), b)
	if err != nil {
		t.Fatal(err)
	}
	return string(m.AppendForm(nil))
}

// exchanges are whole ones, with and without a port, over both families. A challenge with
// one wrong bit gets no response.
func (p *tab) exchanges(t *testing.T, path string) {
	var file struct{ Exchanges []vector }
	readVectors(t, path, &file)
	for _, v := range file.Exchanges {
		kind := carrier.Request4
		if v.Self.Is6() {
			kind = carrier.Request6
		}
		self := hex.EncodeToString(v.Self.AsSlice())
		a := p.answer(t, v, kind, self, v.Challenge)
		if a == nil {
			t.Errorf("%s: no response", v.ID)
			continue
		}
		want := answered{form(t, kind, 0, v.Request), form(t, carrier.Response, 0, v.Response), v.Public.String(), v.Port}
		if *a != want {
			t.Errorf("%s: got %+v, want %+v", v.ID, *a, want)
		}
		wrong := []byte(v.Challenge)
		wrong[0] = "10"[min(wrong[0]-'0', 1)]
		if v.Algorithm != exchange.Unilateral && p.answer(t, v, kind, self, string(wrong)) != nil {
			t.Errorf("%s: responded to %s", v.ID, wrong)
		}
		if p.answer(t, v, kind, self, v.Challenge+"00") != nil || p.answer(t, v, kind, self, v.Challenge[2:]) != nil {
			t.Errorf("%s: responded to a challenge of another size", v.ID)
		}
	}
}

// carried are exchanges for a connection, and the pages of challenges.
func (p *tab) carried(t *testing.T, path string) {
	var file struct {
		Exchanges  []vector
		Challenges []struct{ ID, Challenge, Page string }
	}
	readVectors(t, path, &file)
	message := func(path string) string {
		var m carrier.Message
		if reason := m.ParsePath(path); reason != carrier.Accepted {
			t.Fatal(reason)
		}
		return string(m.AppendForm(nil))
	}
	for _, v := range file.Exchanges {
		challenge, _ := carrier.ParseText(nil, []byte(v.Text))
		a := p.answer(t, v, carrier.RequestConnection, "", hex.EncodeToString(challenge))
		if a == nil || a.Request != message(v.RequestPath) || a.Response != message(v.ResponsePath) || a.Client != v.Client.String() {
			t.Errorf("%s: got %+v", v.ID, a)
		}
	}
	read := func(page string) (got string) {
		text, err := json.Marshal(page)
		if err != nil {
			t.Fatal(err)
		}
		p.run(`Array.from(challengeOf(`+string(text)+`) || [], (c) => c.toString(16).padStart(2, "0")).join("")`, &got)
		return got
	}
	for _, c := range file.Challenges {
		if got := read(c.Page); got != c.Challenge {
			t.Errorf("%s: got %s, want %s", c.ID, got, c.Challenge)
		}
		for _, wrong := range []string{c.Page + " ", strings.Replace(c.Page, "Continue", "<script>", 1), strings.Replace(c.Page, `value="`, `value="+`, 1)} {
			if got := read(wrong); got != "" {
				t.Errorf("%s: read %s from %q", c.ID, got, wrong)
			}
		}
	}
}

// masks are those of the minutes of requests that age.
func (p *tab) masks(t *testing.T, path string) {
	var file struct {
		Valid []struct {
			ID, Key, Mask string
			Minute        int64
		}
	}
	readVectors(t, path, &file)
	if len(file.Valid) == 0 {
		t.Fatal("no vectors")
	}
	for _, v := range file.Valid {
		arguments, _ := json.Marshal([]any{v.Key, v.Minute})
		var got string
		p.run(`(async ([key, minute]) => Array.from(await maskOf(fromHex(key), minute), (c) => c.toString(16).padStart(2, "0")).join(""))(`+string(arguments)+`)`, &got)
		if got != v.Mask {
			t.Errorf("%s: got %s, want %s", v.ID, got, v.Mask)
		}
	}
}
