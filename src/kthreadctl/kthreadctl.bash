# SPDX-License-Identifier: MIT
# bash completion for kthreadctl: commands, options, and the threads of the daemon that is meant.

_kthreadctl()
{
	local cur prev word command='' daemon=() i
	local common='--socket --pid --name --wait --color --help --version'
	local commands='list show top watch map timeline dump prometheus park unpark housekeeping cpu freeze thaw rescan'

	COMPREPLY=()
	cur=${COMP_WORDS[COMP_CWORD]}
	prev=${COMP_WORDS[COMP_CWORD - 1]}
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		case $word in
		-s | -p | -n | --socket | --pid | --name)
			daemon=("$word" "${COMP_WORDS[++i]}")
			;;
		-w | -f | -d | -c | --wait | --color | --for | --timeout | --delay | --count | --svg)
			((i++))
			;;
		-*) ;;
		*)
			command=$word
			break
			;;
		esac
	done
	case $prev in
	-s | --socket | --svg)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	-p | --pid)
		mapfile -t COMPREPLY < <(cd /proc && compgen -W "$(echo [1-9]*)" -- "$cur")
		return
		;;
	--color)
		mapfile -t COMPREPLY < <(compgen -W 'auto always never' -- "$cur")
		return
		;;
	-n | -w | -f | -d | -c | --name | --wait | --for | --timeout | --delay | --count)
		return
		;;
	esac
	if [[ $cur == -* ]]; then
		case $command in
		list) common="$common --json --names" ;;
		top) common="$common --json --delay --count" ;;
		watch) common="$common --json --for" ;;
		map) common="$common --json --every --svg" ;;
		timeline) common="$common --json --for --every --svg" ;;
		dump) common="$common --json --text" ;;
		cpu) common="$common --json --physical" ;;
		freeze) common="$common --json --timeout" ;;
		?*) common="$common --json" ;;
		esac
		mapfile -t COMPREPLY < <(compgen -W "$common" -- "$cur")
		return
	fi
	case $command in
	'')
		mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
		;;
	show | park | unpark)
		# Names may hold blanks and more: a line each, quoted for the shell.
		while IFS= read -r word; do
			if [[ $word == "$cur"* ]]; then
				printf -v word %q "$word"
				COMPREPLY+=("$word")
			fi
		done < <("${COMP_WORDS[0]}" "${daemon[@]}" --wait 1s list --names 2>/dev/null)
		;;
	cpu)
		[[ $prev != cpu ]] || mapfile -t COMPREPLY < <(compgen -W 'down up' -- "$cur")
		;;
	housekeeping)
		mapfile -t COMPREPLY < <(compgen -W default -- "$cur")
		;;
	esac
}
complete -F _kthreadctl kthreadctl
