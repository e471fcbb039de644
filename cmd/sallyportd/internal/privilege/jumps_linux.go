package privilege

import (
	"log/slog"
	"strings"

	"sallyport/sessions/gate/firewall"
)

// logJumps logs what happened to the operator's chains.
func logJumps(log *slog.Logger, j firewall.Jumps) {
	if len(j.Empty) > 0 {
		log.Info("chain of the operator has no rules", "chains", strings.Join(j.Empty, ","))
	}
	if len(j.Lost) > 0 {
		log.Warn("rules of the operator's chain are gone", "chains", strings.Join(j.Lost, ","))
	}
	switch {
	case j.Refused != nil:
		log.Error("services with a jump stay closed", "error", j.Refused)
	case j.Joined:
		log.Info("services with a jump can open again")
	}
}

// clearTable removes the table, with the operator's chains.
func clearTable(log *slog.Logger) error {
	before, err := firewall.Inspect()
	if err != nil {
		before = firewall.Standing{} // only the line in the log depends on it
	}
	if err := firewall.Clear(); err != nil {
		return err
	}
	var lost []string
	for _, c := range before.Chains {
		if c.Rules > 0 {
			lost = append(lost, c.Name)
		}
	}
	logJumps(log, firewall.Jumps{Lost: lost})
	return nil
}
