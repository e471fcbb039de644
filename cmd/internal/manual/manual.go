// Package manual writes the manual pages of a program. Only builds with the tag
// "manual" link it: the packages and the image have the pages as files, so the programs
// themselves need no generator.
package manual

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"sallyport/sessions/durable"
)

// Write writes the pages of a program and of all its commands into a directory, which it
// makes. Equal arguments give equal files.
func Write(root *cobra.Command, dir, version string, date time.Time) error {
	if err := durable.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	header := doc.GenManHeader{Section: "1", Source: "Sallyport " + version, Manual: "Sallyport", Date: &date}
	root.DisableAutoGenTag = true
	err := durable.AsOwner(filepath.Join(dir, root.Name()+".1"), func(path string) error {
		if err := doc.GenManTree(root, &header, filepath.Dir(path)); err != nil {
			return err
		}
		return tidyAll(filepath.Dir(path), root.Name(), date)
	})
	if err != nil {
		return fmt.Errorf("write the manual pages: %w", err)
	}
	return nil
}

var (
	title  = regexp.MustCompile(`(?m)^(\.TH "[^"]*" "1" )"[^"]*"`)
	option = regexp.MustCompile(`(?m)^(?:\.PP\n)?(\\fB-.*)\n\t(.*)$`)
	blank  = regexp.MustCompile(`\n+(\n\.(?:SH|PP|TP|EX)\b)`)
)

// tidyAll changes the pages of a program, which the generator has just written, to what all
// readers of pages understand.
func tidyAll(dir, program string, date time.Time) error {
	pages, err := filepath.Glob(filepath.Join(dir, program+`[.\-]*1`))
	if err != nil {
		return err
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		if err := os.WriteFile(page, tidy(text, date), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// tidy writes the date in full, each option as a tagged paragraph in place of a line with a
// tab, and no blank line before a paragraph, which some readers would show too.
func tidy(page []byte, date time.Time) []byte {
	page = title.ReplaceAll(page, fmt.Appendf(nil, `${1}"%s"`, date.Format(time.DateOnly)))
	page = option.ReplaceAll(page, []byte(".TP\n$1\n$2"))
	return append(bytes.TrimRight(blank.ReplaceAll(page, []byte("$1")), "\n"), '\n')
}
