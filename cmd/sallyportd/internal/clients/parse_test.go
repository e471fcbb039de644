package clients

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/verify/wire"
)

func TestParse(t *testing.T) {
	lines, err := Parse("clients.txt", strings.NewReader("\ufeff# Listing 4\ncom1 com1_secret 0\r\n\n  com2\tsécret#2  14 \n#com3 off 5\ncom4 s 4294967295\n"+
		"com5 new 7 old=before until=2026-12-01T00:00:00Z note=Eve's laptop, the note=blue one\ncom6 s 0\tnote=x\ncom7 s 0 expires=2026-12-01T02:00:00.7+02:00 note=y"))
	if err != nil {
		t.Fatal(err)
	}
	clients := Of(lines)
	id := func(s string) wire.Identifier { return wire.Identifier([]byte(s)) }
	want := List{
		{Identifier: id("com1"), Secret: []byte("com1_secret")},
		{Identifier: id("com2"), Secret: []byte("sécret#2"), HighestNonce: 14},
		{Identifier: id("com4"), Secret: []byte("s"), HighestNonce: 1<<32 - 1},
		{Identifier: id("com5"), Secret: []byte("new"), HighestNonce: 7, Previous: []byte("before"), Until: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Note: "Eve's laptop, the note=blue one"},
		{Identifier: id("com6"), Secret: []byte("s"), Note: "x"},
		{Identifier: id("com7"), Secret: []byte("s"), Expires: time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC), Note: "y"},
	}
	if !reflect.DeepEqual(clients, want) {
		t.Errorf("got %+v", clients)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"com1 hunter2":                                                       "clients.txt:1: expected identifier, secret and nonce, separated by spaces; got 2 columns",
		"com1 hunter2 0 web":                                                 "clients.txt:1: column 4: expected old=SECRET, until=TIME, services=NAME,NAME, expires=TIME or note=TEXT, each once",
		"com1 hunter2 0 services=a, hunter2":                                 "clients.txt:1: expected no space between the names after services=, such as services=web,ssh",
		"com1 hunter2 0 services=a ,b c":                                     "clients.txt:1: expected no space",
		"com1 hunter2 0 services= a":                                         "clients.txt:1: expected no space",
		"com1 hunter2 0 services=":                                           "clients.txt:1: expected services= once, followed by names separated by commas, such as services=web,ssh",
		"com1 hunter2 0 services=a,":                                         "clients.txt:1: expected services= once",
		"com1 hunter2 0 services=a services=":                                "clients.txt:1: expected services= once",
		"com1 hunter2 0 services=a x=b c":                                    "clients.txt:1: column 5: expected old=SECRET",
		"com1 hunter2 0 old=hunter2":                                         "clients.txt:1: expected old= and until= together",
		"com1 hunter2 0 until=soon":                                          "clients.txt:1: column 4: expected until= and a time such as",
		"com1 h 0 expires=2026-12-01":                                        "clients.txt:1: column 4: expected expires= and a time such as 2026-12-01T00:00:00Z",
		"com1 h 0 expires=":                                                  "clients.txt:1: column 4: expected expires= and a time",
		"com1 h 0 expires=0001-01-01T00:00:00Z":                              "clients.txt:1: column 4: expected expires= and a time",
		"com1 h 0 expires=2026-12-01T00:00:00Z expires=2026-12-01T00:00:00Z": "clients.txt:1: column 5: expected old=SECRET",
		"com1 h 0 old=hunter2 old=hunter2":                                   "clients.txt:1: column 5: ",
		"\nhunter2 com1 0":                                                   "clients.txt:2: expected an identifier of 4 printable ASCII characters, got 7 bytes",
		"cöm hunter2 0":                                                      "clients.txt:1: expected an identifier of 4 printable ASCII characters, got other characters",
		"com1 hunter2 0\n# c\ncom1 hunter2 1":                                "clients.txt:3: expected each identifier once, got com1, which is also in line 1",
		"com1 hunter2 4294967296":                                            "clients.txt:1: expected a nonce from 0 to 4294967295 in the third column",
		"com1 hunter2 -1":                                                    "clients.txt:1: expected a nonce",
		"com1 0 hunter2":                                                     "clients.txt:1: expected a nonce",
		"com1 hunter2\xff 0":                                                 "clients.txt:1: expected UTF-8 text",
		strings.Repeat("x", 70_000):                                          "clients.txt:1: ",
		"com1 hun\u200bter2 0":                                               "clients.txt:1: expected a secret of visible characters in the second column, got an invisible character (U+200B) at character 4 of 8",
		"com1 hunter2\ufeff 0":                                               "clients.txt:1: expected a secret of visible characters in the second column, got a byte order mark (U+FEFF) at its end",
		"com1 h 0 old=hunter2\u200d until=x":                                 "clients.txt:1: column 4: expected a secret of visible characters, got an invisible character",
		"com1 h 0\n\ufeffcom2 hunter2 0":                                     "clients.txt:2: expected an identifier, got a byte order mark (U+FEFF) before it",
		"com1 hun\u00a0ter2 0":                                               "clients.txt:1: expected a nonce",
		"\xff\xfec\x00o\x00m\x001\x00":                                       "clients.txt: expected UTF-8 text, got UTF-16LE",
		"\x00c\x00o\x00m\x001\x00 ":                                          "clients.txt: expected UTF-8 text, got UTF-16BE",
	} {
		_, err := Parse("clients.txt", strings.NewReader(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %s", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a secret in %v", err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("com1 com1_secret 0 expires=2026-12-01T02:00:00.7+02:00\n")
	f.Add("com1 com1_secret 0\n# x\ncom2 com2_secret 14\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines, err := Parse("clients.txt", strings.NewReader(text))
		if err != nil {
			return
		}
		seen := map[wire.Identifier]bool{}
		for _, c := range Of(lines) {
			if again, err := parseClient(c.String()); err != nil || !reflect.DeepEqual(again, c) {
				t.Fatalf("%q: %+v became %+v, %v", text, c, again, err)
			}
			if seen[c.Identifier] || !c.Identifier.Valid() || len(c.Secret) == 0 || strings.ContainsAny(string(c.Secret), " \t\n") {
				t.Fatalf("%q: %+v", text, c)
			}
			seen[c.Identifier] = true
		}
	})
}
