package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/cmd/internal/cli"
)

func watchCommand(env cli.Env) *cobra.Command {
	var path string
	var asJSON bool
	c := &cobra.Command{
		Use:   "watch",
		Short: "Tell who gets in, as it happens",
		Long: `Tell who gets in, as it happens: a line for each time that the running server
opens something, until interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(path)
			if err != nil {
				return cli.Misuse(err)
			}
			answer, err := ask(c.Context(), cfg.adminSocket, http.MethodGet, "/grants")
			if err != nil {
				return err
			}
			defer answer.Close()
			fmt.Fprintln(env.Stderr, "watching until interrupted")
			decoder := json.NewDecoder(answer)
			for {
				var o opening
				err := decoder.Decode(&o)
				switch {
				case c.Context().Err() != nil:
					return c.Context().Err()
				case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
					return errors.New("the server has stopped")
				case err != nil:
					return fmt.Errorf("read what the server tells: %w", err)
				}
				if asJSON {
					err = json.NewEncoder(env.Stdout).Encode(o)
				} else {
					err = tell(env.Stdout, o)
				}
				if err != nil {
					return err
				}
			}
		},
	}
	addConfigFlag(c, &path)
	c.Flags().BoolVar(&asJSON, "json", false, "an object of JSON a line")
	return c
}

func tell(w io.Writer, o opening) error {
	if o.Missed > 0 {
		if _, err := fmt.Fprintf(w, "(%d were not told)\n", o.Missed); err != nil {
			return err
		}
	}
	operation := ""
	if o.Operation != "" {
		operation = " by operation " + o.Operation
	}
	_, err := fmt.Fprintf(w, "%s %s %s %s%s\n", o.Time.Format(time.RFC3339), o.Client, o.Address, strings.Join(o.Services, ","), operation)
	return err
}
