package main

import (
	"cmp"
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
		Long: `Write the report of a result again.

Draws report.html and its pictures from a result.json of this version or of an
earlier one.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			res, err := readResult(args[0])
			if err != nil {
				return err
			}
			return writePage(env.Stdout, cmp.Or(out, filepath.Dir(args[0])), "report.html", reportFiles(res))
		},
	}
	c.Flags().StringVar(&out, "out", "", "the `directory` for report.html and its pictures; created if it does not exist (default: that of RESULT.json)")
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

// writePage writes a page, and the files beside it, and prints its path.
func writePage(w io.Writer, dir, page string, files map[string]func(io.Writer) error) error {
	if err := makeDir(dir); err != nil {
		return err
	}
	if err := writeFiles(dir, files); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nreport: %s\n", filepath.Join(dir, page))
	return err
}

func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return cli.Misuse(fmt.Errorf("create the directory for the report: %w", err))
	}
	return nil
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
