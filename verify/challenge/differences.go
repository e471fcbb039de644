package challenge

import "slices"

// insert is Add for Differences. The offset is the port's distance from the
// base; the packet belongs to the block that is not complete.
func (d *Decoder) insert(offset uint32) Verdict {
	size := min(d.codec.block, d.codec.packets-d.missing)
	here := d.count - d.missing
	block := d.packets[d.missing : d.missing+size]
	i, duplicate := slices.BinarySearch(block[:here], offset)
	if duplicate {
		return d.verdict
	}
	copy(block[i+1:here+1], block[i:here])
	block[i] = offset
	d.count++
	here++
	// A gap that is too wide for one packet's data must contain missing packets.
	need, next := 0, uint32(0)
	for _, o := range block[:here] {
		need += int(o-next) >> d.codec.encoding.DataBits
		next = o + 1
	}
	if need > size-here {
		return d.finish(Impossible)
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
	if d.missing < d.codec.packets {
		return d.verdict
	}
	if int(d.packets[d.codec.packets-1])&d.codec.padding() != 0 {
		return d.finish(Impossible)
	}
	return d.finish(Complete)
}
