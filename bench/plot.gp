# Draws results.csv: one page, as results.svg and results.png.
set datafile separator ','
set datafile missing ''
set style fill solid 0.7 noborder

do for [form in 'svg png'] {
	if (form eq 'svg') {
		set terminal svg size 1200,900 font 'sans,12' background 'white'
	} else {
		set terminal pngcairo size 1200,900 font 'sans,10'
	}
	set output 'results.'.form
	set multiplot layout 2,1

	set title 'smmapd divided by its reference (median, least to most), and what is to be reached'
	set logscale y
	set grid y
	set key outside top right
	set xtics rotate by -40 scale 0 font ',9'
	set bmargin 9
	set format y '%g'
	set xrange [-1:*]
	plot 'results.csv' using 0:(strlen(strcol(6)) ? $9 : NaN):10:11:xtic(strlen(strcol(6)) ? strcol(1) : '') every ::1 \
			with yerrorbars pt 7 ps 1 lc rgb '#4477aa' title 'ratio', \
		'' using 0:(strlen(strcol(6)) && strlen(strcol(12)) ? $13 : NaN) every ::1 with points pt 2 ps 1.2 lw 2 lc rgb '#cc3311' title 'to reach'

	set title 'misses a second, of so many clients at once'
	unset logscale y
	set yrange [0:*]
	set format y '%.0f'
	set logscale x
	set xrange [0.8:1300]
	set xtics rotate by 0 (1, 2, 4, 16, 100, 1000) font ',12'
	set bmargin 3
	clients(key) = key[1:8] eq 'clients-' && key[9:12] ne 'fall' ? real(key[9:*]) : NaN
	plot 'results.csv' using (clients(strcol(1))):3:4:5 every ::1 with yerrorlines pt 7 lc rgb '#4477aa' title 'smmapd', \
		'' using (clients(strcol(1))):6:7:8 every ::1 with yerrorlines pt 7 lc rgb '#bbbbbb' title 'bare libuv server'

	unset multiplot
	set output
	reset
	set datafile separator ','
	set datafile missing ''
}
