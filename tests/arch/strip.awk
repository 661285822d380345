# SPDX-License-Identifier: MIT
# C without comments and without what stands in quotes; lines keep their numbers. #include lines stay as they are.
{
	line = $0
	if (!comment && line ~ /^[ \t]*#[ \t]*include/) {
		print line
		next
	}
	out = ""
	while (line != "") {
		if (comment) {
			end = index(line, "*/")
			if (!end)
				break
			line = substr(line, end + 2)
			comment = 0
			out = out " "
		} else if (!match(line, /\/\*|\/\/|"|'/)) {
			out = out line
			break
		} else {
			mark = substr(line, RSTART, RLENGTH)
			out = out substr(line, 1, RSTART - 1)
			line = substr(line, RSTART + RLENGTH)
			if (mark == "//")
				break
			if (mark == "/*") {
				comment = 1
				continue
			}
			out = out mark mark
			while (line != "" && substr(line, 1, 1) != mark)
				line = substr(line, substr(line, 1, 1) == "\\" ? 3 : 2)
			line = substr(line, 2)
		}
	}
	print out
}
