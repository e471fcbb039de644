package challenge

import "slices"

// insert takes a packet of Differences: its port's distance from the base, in
// the block that is not complete yet.
func (d *Decoder) insert(offset uint32) Verdict {
	size := min(d.c.block, d.c.packets-d.missing)
	here := d.count - d.missing
	block := d.places[d.missing : d.missing+size]
	i, duplicate := slices.BinarySearch(block[:here], offset)
	if duplicate {
		return d.verdict
	}
	copy(block[i+1:here+1], block[i:here])
	block[i] = offset
	d.count++
	here++
	// Each gap that is too wide for one packet's data takes more of those that
	// are missing.
	need, next := 0, uint32(0)
	for _, o := range block[:here] {
		need += int(o-next) >> d.c.e.DataBits
		next = o + 1
	}
	if need > size-here {
		return d.end(Impossible)
	}
	if here < size {
		return d.verdict
	}
	next = 0
	for i, o := range block {
		block[i] = o - next
		next = o + 1
	}
	d.missing += size
	if d.missing < d.c.packets {
		return d.verdict
	}
	if int(d.places[d.c.packets-1])&d.c.padding() != 0 {
		return d.end(Impossible)
	}
	return d.end(Complete)
}
