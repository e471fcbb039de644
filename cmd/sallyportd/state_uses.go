package main

import (
	"errors"
	"io/fs"

	"sallyport/cmd/internal/output"
	"sallyport/cmd/sallyportd/internal/config"
	"sallyport/sessions/state"
)

// exportedUses is a count of an operation for programs.
type exportedUses struct {
	Uses useRow `json:"operation_uses"`
}

type useRow struct {
	Operation string `json:"operation"`
	Used      uint32 `json:"used"`
	Unknown   bool   `json:"unknown,omitempty"`
}

// readUses reads the counts of operations. No record is an empty one.
func readUses(cfg *config.Config) ([]state.Use, error) {
	list, err := state.ReadUses(cfg.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return list, err
}

// exportUses prints the counts of operations, those of a copy too.
func exportUses(cfg *config.Config, out *output.Printer, asJSON bool) error {
	list, err := readUses(cfg)
	if len(list) > 0 && !asJSON {
		if err := out.Printf("# uses of operations: operation, uses, whether they are known\n"); err != nil {
			return err
		}
	}
	for _, u := range list {
		known := "known"
		if u.Unknown {
			known = "lost"
		}
		var printErr error
		if asJSON {
			printErr = out.JSON(exportedUses{useRow{u.Operation, u.Used, u.Unknown}})
		} else {
			printErr = out.Printf("%s %d %s\n", u.Operation, u.Used, known)
		}
		if printErr != nil {
			return printErr
		}
	}
	return err
}
