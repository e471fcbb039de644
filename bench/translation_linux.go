package bench

import (
	"fmt"

	"github.com/google/nftables"
)

// translate gives this host a chain for address translation, without a rule: then the
// kernel tracks flows, and the shield looks each one up. The chain stays until undo.
func translate() (undo func() error, err error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("make a chain for address translation: %w", err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "floodbench"})
	c.AddChain(&nftables.Chain{
		Name: "prerouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
	})
	if err := c.Flush(); err != nil {
		return nil, fmt.Errorf("make a chain for address translation: %w", err)
	}
	return func() error {
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			return fmt.Errorf("remove the chain for address translation: %w", err)
		}
		return nil
	}, nil
}
