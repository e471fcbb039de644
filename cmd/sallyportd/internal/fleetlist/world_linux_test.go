package fleetlist

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/cmd/sallyportd/internal/clients"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/config/configtest"
	"sallyport/sessions/fleet/etcdtest"
	"sallyport/sessions/fleet/roster"
	"sallyport/verify/wire"
)

var prefixes atomic.Int64

// configured returns a configuration of a new list, whose files are in a new directory.
func configured(t *testing.T, e *etcdtest.Cluster) *config.Config {
	t.Helper()
	dir := t.TempDir()
	text := strings.Replace(configtest.Text(configtest.Web), "\""+config.ClientsName+"\"", `"fleet"`, 1) + fmt.Sprintf(`
[fleet]
name = "gateway1"
endpoints = [%q]
prefix = "/%d/"
timeout = "10s"
`, e.Gateway(t).Endpoints()[0], prefixes.Add(1))
	path := filepath.Join(dir, config.FileName)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := roster.NewKeyFile(filepath.Join(dir, "clients_key")); err != nil {
		t.Fatal(err)
	}
	return load(t, path)
}

func load(t *testing.T, path string) *config.Config {
	t.Helper()
	cfg, err := config.Load(path, config.All)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// another returns the configuration of another gateway with the same list.
func another(t *testing.T, cfg *config.Config) *config.Config {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{config.FileName, "clients_key"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(cfg.Path), name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	return load(t, filepath.Join(dir, config.FileName))
}

func open(t *testing.T, cfg *config.Config) *List {
	t.Helper()
	l, err := Open(cfg, time.Now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func id(text string) wire.Identifier { return wire.Identifier([]byte(text)) }

// parsed returns the lines of a clients file.
func parsed(t *testing.T, text string) []clients.Line {
	t.Helper()
	lines, err := clients.Parse("clients.txt", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// written returns the text of lines.
func written(lines []clients.Line) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.Text + "\n")
	}
	return b.String()
}

func (l *List) imports(t *testing.T, text string) {
	t.Helper()
	if err := l.Import(t.Context(), parsed(t, text)); err != nil {
		t.Fatal(err)
	}
}

// has checks that the list has exactly these lines.
func (l *List) has(t *testing.T, what, want string) {
	t.Helper()
	lines, _, err := l.Read(t.Context())
	if got := written(lines); err != nil || got != want {
		t.Errorf("%s: %v, got\n%swant\n%s", what, err, got, want)
	}
}

// add adds clients by one Edit.
func (l *List) add(t *testing.T, lines ...string) {
	t.Helper()
	var ids []wire.Identifier
	for _, line := range lines {
		ids = append(ids, id(line[:4]))
	}
	err := l.Edit(t.Context(), ids, func(before []clients.Line) ([]clients.Line, error) {
		before = slices.DeleteFunc(before, func(clients.Line) bool { return true })
		return append(before, parsed(t, strings.Join(lines, "\n")+"\n")...), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func ids(texts ...string) (all []wire.Identifier) {
	for _, text := range texts {
		all = append(all, id(text))
	}
	return all
}

// logged is the text of a log.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) count(text string) int { return strings.Count(l.text(), text) }
