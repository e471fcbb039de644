package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/privilege"
)

// healthTime is the time in which a server must answer, without --timeout.
const healthTime = 5 * time.Second

func healthCommand(env cli.Env) *cobra.Command {
	var path string
	var container bool
	timeout := healthTime
	c := &cobra.Command{
		Use:   "health",
		Short: "Exit with 0 if the running server accepts knocks, for health checks",
		Long: `Exit with 0 if the running server accepts knocks, for health checks of containers
and orchestrators. It asks the server one question over its admin socket.

It does not judge whether a knock would open a service: the firewall's holder, etcd or
the record may fail, and a restart of the server would not help. "status" and the
metrics show that.

With --container, the command asks the server that is the first process of the
container, with the configuration of that one: as its user, if the command runs as
root. If the first process is no server, such as a holder of the firewall or a client,
the exit code is 0, because the engine itself notices when that process ends.

Exit codes: 0 healthy; 1 the server has not begun to accept knocks, or the check
failed; 2 wrong usage or configuration; 3 no server runs; 4 it cannot be reached, or
does not answer in time.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if timeout < minStatusTime || timeout > maxStatusTime {
				return cli.Misuse(fmt.Errorf("--timeout: expected a duration from %s to %s, got %s", minStatusTime, maxStatusTime, timeout))
			}
			if container {
				serves, named, err := firstProcess("/proc/1/cmdline")
				if err != nil {
					return err
				}
				if !serves {
					return env.Out().Printf("the first process is no server\n")
				}
				if named != "" && !c.Flags().Changed("config") {
					path = named
				}
			}
			cfg, err := loadOrLocate(path, func(text string) { env.Err().Warning(text, "") })
			if err != nil {
				return cli.Misuse(err)
			}
			if container {
				// If it fails, the socket decides who may connect.
				privilege.Become(cfg.User)
			}
			return checkHealth(c.Context(), env, cfg, timeout)
		},
	}
	c.Flags().BoolVar(&container, "container", false, "ask the server that is the first process of this container")
	c.Flags().DurationVar(&timeout, "timeout", timeout, "the `time` in which the server must answer")
	addConfigFlag(c, env, &path)
	return c
}

func checkHealth(ctx context.Context, env cli.Env, cfg *config.Config, timeout time.Duration) error {
	st, err := readStatus(ctx, cfg, timeout)
	if err != nil {
		return err
	}
	if !st.Ready {
		return cli.WithHint(errors.New("the server does not accept knocks yet"), "it has just started, or waits for its clients; the log has the reason")
	}
	return env.Out().Printf("the server accepts knocks\n")
}

// firstProcess reads the arguments of a process, and reports whether it is "sallyportd
// serve", and with which configuration; empty: it names none.
func firstProcess(path string) (serves bool, config string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return false, "", fmt.Errorf("read the arguments of the first process: %w", err)
	}
	args := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	if len(args) < 2 || filepath.Base(args[0]) != "sallyportd" || args[1] != "serve" {
		return false, "", nil
	}
	for i, a := range args {
		name, value, inline := strings.Cut(a, "=")
		switch {
		case a == "--":
			return true, config, nil
		case (a == "-c" || a == "--config") && i+1 < len(args):
			config = args[i+1]
		case inline && (name == "-c" || name == "--config"):
			config = value
		case strings.HasPrefix(a, "-c") && !strings.HasPrefix(a, "--") && len(a) > 2:
			config = a[2:]
		}
	}
	return true, config, nil
}
