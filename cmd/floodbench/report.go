package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport/bench/report"
	"sallyport/cmd/internal/cli"
)

// reportCommand draws the pages of results of earlier versions again.
func reportCommand(env cli.Env) *cobra.Command {
	out := ""
	c := &cobra.Command{
		Use:   "report RESULT.json",
		Short: "Write the report of a result again",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			res, err := readResult(args[0])
			if err != nil {
				return err
			}
			if out == "" {
				out = filepath.Dir(args[0])
			}
			if err := writeFiles(out, reportFiles(res)); err != nil {
				return err
			}
			fmt.Fprintf(env.Stdout, "report: %s\n", filepath.Join(out, "report.html"))
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "the `directory` for report.html and its pictures (default: that of RESULT.json)")
	return c
}

func readResult(path string) (report.Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return report.Result{}, cli.Misuse(fmt.Errorf("read the result: %w", err))
	}
	defer f.Close()
	res, err := report.Read(f)
	if err != nil {
		return res, cli.WithHint(cli.Misuse(fmt.Errorf("%s: %w", path, err)),
			`use a result.json that "floodbench run" has written`)
	}
	return res, nil
}

// reportFiles are the page and its pictures.
func reportFiles(res report.Result) map[string]func(io.Writer) error {
	files := map[string]func(io.Writer) error{"report.html": res.HTML}
	for _, p := range res.Plots() {
		files[p.Name+".svg"] = func(w io.Writer) error {
			_, err := w.Write(p.SVG())
			return err
		}
	}
	return files
}

func writeFiles(dir string, files map[string]func(io.Writer) error) error {
	for name, write := range files {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		err = write(f)
		if e := f.Close(); err == nil {
			err = e
		}
		if err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
	}
	return nil
}
