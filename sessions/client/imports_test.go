package client

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImports: programs on every system can import this package alone. It needs no command
// line, no configuration, and no package for one system only.
func TestImports(t *testing.T) {
	t.Parallel()
	own := []string{
		"sallyport/sessions/client", "sallyport/sessions/client/carriers", "sallyport/sessions/durable", "sallyport/sessions/syserror",
		"sallyport/verify/challenge", "sallyport/verify/challenge/carrier", "sallyport/verify/challenge/exchange", "sallyport/verify/preamble", "sallyport/verify/schedule", "sallyport/verify/wire",
	}
	forApps := append([]string{
		"github.com/pelletier/go-toml/v2", "sallyport/sessions/client/mobile", "sallyport/sessions/client/profilefile",
		"sallyport/sessions/client/stay", "sallyport/sessions/clock", "sallyport/sessions/durations", "sallyport/verify",
		// stay watches the network of Linux with these.
		"github.com/mdlayher/netlink", "github.com/mdlayher/socket", "golang.org/x/net/bpf", "golang.org/x/sync/errgroup",
	}, own...)
	for _, row := range []struct {
		path    string
		allowed []string
	}{{".", own}, {"./mobile", forApps}} {
		for goos, more := range map[string][]string{
			"linux": {"golang.org/x/sys/unix"}, "android": {"golang.org/x/sys/unix"}, "ios": {"golang.org/x/sys/unix"},
			"darwin": {"golang.org/x/sys/unix"}, "windows": {"golang.org/x/sys/windows", "golang.org/x/sys/windows/registry", "github.com/gofrs/flock"},
		} {
			list := exec.Command("go", "list", "-deps", "-f", "{{.Standard}} {{.ImportPath}}", row.path)
			list.Env = append(os.Environ(), "GOOS="+goos, "GOARCH=arm64", "CGO_ENABLED=0")
			out, err := list.CombinedOutput()
			if err != nil {
				t.Fatalf("%s for %s: %v\n%s", row.path, goos, err, out)
			}
			for line := range strings.Lines(string(out)) {
				standard, path, _ := strings.Cut(strings.TrimSpace(line), " ")
				inModule := slices.ContainsFunc(row.allowed, func(a string) bool {
					return path == a || strings.HasPrefix(path, a+"/") && !strings.HasPrefix(a, "sallyport/")
				})
				switch {
				case standard == "true" && path != "flag" && path != "testing" && path != "os/signal":
				case standard == "false" && (inModule || slices.Contains(more, path)):
				default:
					t.Errorf("%s for %s imports %s", row.path, goos, path)
				}
			}
		}
	}
}
