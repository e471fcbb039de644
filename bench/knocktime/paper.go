package knocktime

import "time"

const ms = time.Millisecond

// Rows returns the rows of the paper, with its errors.
func Rows() []Row {
	rows := []Row{
		{1, 12, 0, Figures{4, 65536, 243 * ms}},
		{1, 10, 0, Figures{5, 32768, 257 * ms}},
		{1, 9, 0, Figures{5, 16384, 268 * ms}},
		{1, 8, 0, Figures{5, 8192, 278 * ms}},
		{1, 7, 0, Figures{5, 4096, 300 * ms}},
		{1, 6, 0, Figures{5, 2048, 320 * ms}},
		{1, 5, 0, Figures{5, 1024, 352 * ms}},
		{1, 3, 0, Figures{6, 512, 481 * ms}},

		{2, 12, 0, Figures{0, 57344, 243 * ms}},
		{2, 11, 0, Figures{0, 30720, 250 * ms}},
		{2, 10, 0, Figures{0, 16384, 257 * ms}},
		{2, 9, 0, Figures{0, 9216, 268 * ms}},
		{2, 8, 0, Figures{0, 5120, 278 * ms}},
		{2, 7, 0, Figures{0, 2944, 300 * ms}},
		{2, 6, 0, Figures{0, 1728, 320 * ms}},
		{2, 5, 0, Figures{0, 1024, 352 * ms}},
		{2, 4, 0, Figures{0, 640, 397 * ms}},
		{2, 3, 0, Figures{0, 432, 481 * ms}},
		{2, 2, 0, Figures{0, 320, 635 * ms}},
		{2, 1, 0, Figures{0, 320, 1111 * ms}},
	}
	for _, line := range []struct{ bits, ports, five, two int }{
		{15, 32768, 311, 260},
		{14, 16384, 319, 265},
		{13, 8192, 336, 276},
		{12, 4096, 353, 287},
		{11, 2048, 370, 298},
		{10, 1024, 387, 309},
		{9, 512, 413, 323},
		{8, 256, 438, 342},
	} {
		rows = append(rows,
			Row{3, line.bits, 5 * ms, Figures{0, line.ports, time.Duration(line.five) * ms}},
			Row{3, line.bits, 2 * ms, Figures{0, line.ports, time.Duration(line.two) * ms}})
	}
	return rows
}
