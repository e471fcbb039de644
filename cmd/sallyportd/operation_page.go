package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/cmd/sallyportd/internal/page"
)

// pageResult is the result of "operation page" for programs.
type pageResult struct {
	Operation  string   `json:"operation"`
	File       string   `json:"page_file"`
	URL        string   `json:"url,omitempty"` // at which the server serves it
	Passphrase string   `json:"passphrase"`
	Server     string   `json:"server,omitempty"` // as of clientResult, with --serve
	Warnings   []string `json:"warnings,omitempty"`
}

// pageFlags are the flags of "operation page".
type pageFlags struct {
	config, server, url, out string
	serve, asJSON            bool
}

func operationPageCommand(env cli.Env) *cobra.Command {
	var f pageFlags
	c := &cobra.Command{
		Use:   "page ID",
		Short: "Make a page with which a browser requests an operation",
		Long: `Make a page with which a browser requests an operation, over HTTPS.

The page is one HTML file, which needs no other. It contains the operation's secret,
encrypted with a passphrase. The command makes the passphrase, and prints it once:
give page and passphrase to their user by different ways.

With --serve, the server serves the page at a random path, of which only the user
should know; the directory is "pages" in [[challenge.http]]. To end that, remove the
file, and run "sallyportd reload".`,
		Example: "  sallyportd operation page ssh-alice --out alice.html\n  sallyportd operation page ssh-alice --serve",
		Args:    cobra.ExactArgs(1),
		RunE:    func(c *cobra.Command, args []string) error { return f.make(c.Context(), env, args[0]) },
	}
	c.Flags().StringVar(&f.url, "https", "", "the `URL` at which the server receives exchanges (default that of [[challenge.http]])")
	c.Flags().StringVar(&f.server, "server", "", "the host `name` or address by which people reach the service (default \"server\" of the configuration)")
	c.Flags().StringVar(&f.out, "out", "", "write the page to a new `file`, which only this user can read")
	c.Flags().BoolVar(&f.serve, "serve", false, "let the server serve the page, at a random path")
	cli.AddJSONFlag(c, &f.asJSON)
	addConfigFlag(c, env, &f.config)
	return c
}

func (f pageFlags) make(ctx context.Context, env cli.Env, id string) error {
	if (f.out == "") == !f.serve {
		return cli.Misuse(cli.WithHint(errors.New("expected one of --out and --serve"), "--out FILE writes the page to a file, --serve lets the server serve it"))
	}
	cfg, list, err := loadAll(ctx, env, f.config, config.Secrets)
	if err != nil {
		return err
	}
	m, err := newProfileMaker(ctx, env, cfg, list, f.server)
	if err != nil {
		return cli.Misuse(err)
	}
	h, url, err := f.listener(cfg)
	if err != nil {
		return cli.Misuse(err)
	}
	plan, err := m.page(id, url)
	if err != nil {
		return cli.Misuse(err)
	}
	r := pageResult{Operation: id, File: f.out, Passphrase: page.Passphrase()}
	text, err := page.Make(plan, r.Passphrase)
	if err != nil {
		return cli.Misuse(explainPage(err))
	}
	_, r.Warnings = cfg.Usable(list.Rights(cfg.OperationClients(), env.Now()))
	if f.serve {
		name := page.Name()
		r.File, r.URL = filepath.Join(h.Pages, name+page.Extension), url+"/"+name
	}
	if err := createProfile(r.File, text, ""); err != nil {
		return err
	}
	running := false
	if f.serve {
		running, err = askServer(ctx, cfg, reloadAll(ctx))
		if err != nil {
			err = notReloaded("wrote the page "+r.File, err)
		}
		r.Server = serverState(running, err)
	}
	return errors.Join(f.print(env, cfg, plan, r, running), err)
}

// print prints the result. The passphrase is in no other place.
func (f pageFlags) print(env cli.Env, cfg *config.Config, plan page.Plan, r pageResult, running bool) error {
	env.ProtectStdout()
	if f.asJSON {
		return env.Out().JSON(r)
	}
	for _, text := range r.Warnings {
		env.Err().Warning(text, "")
	}
	at, more := r.File, ""
	if r.URL != "" {
		at = "the URL"
		more = fmt.Sprintf("URL: %s\n", r.URL)
	}
	if err := env.Out().Printf("%sPassphrase: %s\n", more, r.Passphrase); err != nil {
		return err
	}
	text := fmt.Sprintf("The passphrase is printed only here. Give %s and the passphrase to their user by different ways.\n", at)
	if !plan.Expires.IsZero() {
		text += fmt.Sprintf("The page expires at %s, with its client.\n", env.Time(plan.Expires))
	}
	if r.Server != "" {
		text += serverLine(cfg, running) + "\n"
	}
	return env.Err().Printf("%s", text)
}

// listener returns the listener that serves the page, and the URL of the page's server.
func (f pageFlags) listener(cfg *config.Config) (h *config.HTTP, url string, err error) {
	all := cfg.HTTP()
	for i := range all {
		l := &all[i]
		if (!f.serve || l.Pages != "") && (h == nil || h.URL() == "" && l.URL() != "") {
			h = l
		}
	}
	if f.serve && h == nil {
		return nil, "", cli.WithHint(fmt.Errorf("--serve: %s has no directory of pages", cfg.Path),
			"make a directory that the server's user can read, and set pages in [[challenge.http]]")
	}
	if url = f.url; url == "" && h != nil {
		url = h.URL()
	}
	switch {
	case url != "":
		if url, err = page.Origin(url); err != nil && f.url != "" {
			err = fmt.Errorf("--https: %w", err)
		}
	case h == nil:
		err = cli.WithHint(fmt.Errorf("%s has no [[challenge.http]]: the server receives no exchanges over HTTPS", cfg.Path),
			"add the table; or give --https URL, if another server passes them on to it")
	default:
		err = cli.WithHint(fmt.Errorf("the page needs HTTPS, but [[challenge.http]] at %s has no certificate", h.Listen),
			"if a server before it does TLS, name its address in trusted_proxies; or give --https URL")
	}
	return h, url, err
}
