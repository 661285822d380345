#!/usr/bin/perl
# SPDX-License-Identifier: MIT
#
# man3.pl DIRECTORY VERSION DATE HEADER...: the pages of section 3, out of the public headers, in mdoc(7).
#
# DIRECTORY is made anew. A page is what stands in a header between two empty lines: a comment, and the declarations that
# belong to it. Every function, struct, enum and typedef of it is a name of the page, the first one gives the file its
# name, the others are links to it. Each header has a page, too: its opening comment, and what there is in it.
#
# What a header has to keep to, or this fails and says where:
#   - the first sentence of such a comment says in a few words what the thing is good for (it becomes the page's NAME);
#   - declarations without a comment belong to those before them, macros with one to those after them;
#   - "0; -EINVAL why; -ENOMEM.", "NULL with errno: EINVAL (why), ENOMEM." are a sentence of their own: they become RETURN
#     VALUES and ERRORS, as do sentences that begin with "True", "False", "NULL" or "Returns";
#   - "Source: ..." is a sentence of its own, at the end;
#   - lines that are indented are a picture or a table, or, with "- ", a list.
# All else is text; nothing of a comment is lost.
use strict;
use warnings;
use Errno;

@ARGV > 3 or die "usage: man3.pl DIRECTORY VERSION DATE HEADER...\n";
my ($directory, $version, $date, @headers) = @ARGV;

my @months = qw(January February March April May June July August September October November December);
$date =~ /^(\d{4})-(\d\d)-(\d\d)$/ or die "man3.pl: \"$date\" is no date (YYYY-MM-DD)\n";
my $dd = sprintf '%s %d, %d', $months[$2 - 1], $3, $1;

my @pages;    # in the order of the headers
my %page_of;  # name -> page
my $faults = 0;

# ---- reading a header ---------------------------------------------------------------------------------------------

# The text of a comment, without its stars
sub comment_lines {
	my ($text) = @_;
	$text =~ s{^/\*}{};
	$text =~ s{\s*\*/\s*$}{};
	my @lines = split /\n/, $text, -1;
	s{^ \*(?: |$)}{} for @lines[1 .. $#lines];
	s{^ }{}, s{\s+$}{} for $lines[0];
	s{\s+$}{} for @lines;
	shift @lines while @lines && $lines[0] eq '';
	return \@lines;
}

# A declaration that was read whole -> an item, or nothing if there is nothing to say of it
sub declaration {
	my ($text, $where) = @_;
	return { kind => 'macro', name => $1, text => $text } if $text =~ /^#\s*define\s+(\w+)/;
	return if $text =~ /^#/ || $text =~ /^struct \w+;$/;
	if ($text =~ /^(struct|enum)\s*(\w*)\s*\{/) {
		return { kind => $2 eq '' ? 'constants' : 'type', name => $2, what => $1, text => $text };
	}
	(my $flat = $text) =~ s{/\*.*?\*/}{}gs;
	$flat =~ s/\s+/ /g;
	if ($flat =~ /^typedef /) {
		$flat =~ /\(\*(\w+)\)/ || $flat =~ /(\w+);$/ or die "$where: no name in \"$flat\"\n";
		return { kind => 'type', what => 'typedef', name => $1, text => $text };
	}
	$flat =~ s/\s*\{.*//;
	$flat =~ s/\bKTHREAD_(API|NORETURN)\s*//g;
	$flat =~ s/\s*KTHREAD_PRINTF\([^)]*\)//g;
	$flat =~ s/^static __inline__ //;
	$flat =~ s/\s*;?\s*$//;
	if ($flat =~ /^extern /) {
		$flat =~ s/\s*__attribute__\(\(.*\)\)//;
		$flat =~ /(\w+)$/ or die "$where: no name in \"$flat\"\n";
		return { kind => 'object', name => $1, text => $flat };
	}
	$flat =~ /^(.*?)(\bk(?:thread|task)_\w+)\s*\((.*)$/ or die "$where: not understood: \"$flat\"\n";
	my ($before, $name, $rest) = ($1, $2, $3);
	my ($depth, $parameter, @parameters) = (1, '');
	while ($rest =~ s/^(.)//) {
		my $c = $1;
		$depth++ if $c eq '(';
		last if $c eq ')' && --$depth == 0;
		if ($c eq ',' && $depth == 1) {
			push @parameters, $parameter;
			$parameter = '';
		} else {
			$parameter .= $c;
		}
	}
	push @parameters, $parameter;
	s/^\s+// for @parameters;
	(my $result = $before . $rest) =~ s/\s+$//; # of one that returns a function: int (*)(void *)
	return { kind => 'function', name => $name, result => $result, parameters => \@parameters };
}

# -> the opening comment, and a list of stanzas: lists of items with a comment or a declaration each
sub read_header {
	my ($file) = @_;
	open my $in, '<', $file or die "$file: $!\n";
	my @lines = <$in>;
	close $in;
	chomp @lines;
	my ($opening, @stanzas, $within, $fresh, $skip);
	for (my $i = 0; $i < @lines; $i++) {
		my $line = $lines[$i];
		my $where = "$file:" . ($i + 1);
		if ($skip) {
			$skip++ if $line =~ /^#\s*if/;
			$skip-- if $line =~ /^#\s*endif/;
			next;
		}
		if ($line =~ /^#\s*ifndef KTHREAD_NO_INLINE/) { # bodies of what has been declared
			$skip = 1;
		} elsif ($line =~ m{^/\*}) {
			my $text = $line;
			$text .= "\n" . $lines[++$i] while $text !~ m{\*/\s*$} && $i < $#lines;
			next if $text =~ /SPDX-License-Identifier/;
			my $item = { kind => 'comment', lines => comment_lines($text), where => $where };
			if (!$within) {
				$opening //= $item;
			} else {
				push @stanzas, [] if $fresh || !@stanzas;
				push @{ $stanzas[-1] }, $item;
				$fresh = 0;
			}
		} elsif ($line eq 'KTHREAD_BEGIN_DECLS') {
			$within = $fresh = 1;
		} elsif ($line eq 'KTHREAD_END_DECLS') {
			$within = 0;
		} elsif ($line eq '') {
			$fresh = 1;
		} elsif ($within) {
			my ($text, $depth) = ('', 0);
			while ($i < @lines) {
				$text .= ($text eq '' ? '' : "\n") . $lines[$i];
				if ($text =~ /^#/) {
					last if $text !~ /\\$/;
				} else {
					(my $bare = $lines[$i]) =~ s{/\*.*?(\*/|$)}{}g;
					$bare =~ s{^\s+[^"]*\*/}{};
					$depth += ($bare =~ tr/{//) - ($bare =~ tr/}//);
					$bare =~ s/\s+$//;
					last if $depth == 0 && $bare =~ /[;}]$/;
				}
				$i++;
			}
			my $item = declaration($text, $where) or next;
			push @stanzas, [] if $fresh || !@stanzas;
			push @{ $stanzas[-1] }, { %$item, where => $where };
			$fresh = 0;
		}
	}
	return ($opening, @stanzas);
}

sub named { return grep { $_->{kind} =~ /^(function|type|object)$/ } @_ }

# Stanzas that are no page of their own go to their neighbours: [main stanza, others...]
sub groups {
	my (@groups, @ahead);
	for my $stanza (@_) {
		my $commented = $stanza->[0]{kind} eq 'comment';
		my $type = grep { $_->{kind} eq 'type' } @$stanza;
		if (named(@$stanza) && ($commented || grep { $_->[0]{kind} eq 'comment' } @ahead)) {
			push @groups, $commented ? [ $stanza, splice @ahead ] : [ splice(@ahead), $stanza ];
		} elsif ($commented || $type || !@groups || @ahead) {
			push @ahead, $stanza;
		} else {
			push @{ $groups[-1] }, $stanza;
		}
	}
	push @{ $groups[-1] }, @ahead if @groups;
	return @groups;
}

# ---- text -----------------------------------------------------------------------------------------------------------

# Split at a separator, where that stands outside of parentheses and quotes
sub split_outside {
	my ($text, $separator) = @_;
	my ($depth, $piece, @pieces) = (0, '');
	while ($text ne '') {
		if ($depth == 0 && $text =~ s/^$separator//) {
			push @pieces, $piece;
			$piece = '';
			next;
		}
		$text =~ s/^(.)//s;
		$depth++ if $1 eq '(';
		$depth-- if $1 eq ')' && $depth > 0;
		$piece .= $1;
	}
	return (@pieces, $piece);
}

sub sentences {
	my ($text) = @_;
	my ($depth, $sentence, @sentences) = (0, '');
	for my $word (split ' ', $text) {
		$sentence .= $sentence eq '' ? $word : " $word";
		$depth += ($word =~ tr/(//) - ($word =~ tr/)//);
		next if $depth > 0 || $word !~ /[.!?]["']?\)?$/ || $word =~ /^\W*(?:[A-Za-z]\.)+$/; # i.e., and initials
		push @sentences, $sentence;
		$sentence = '';
		$depth = 0;
	}
	push @sentences, $sentence if $sentence ne '';
	return @sentences;
}

sub escape {
	my ($text) = @_;
	$text =~ s/\\/\\e/g;
	return $text;
}

# A word that is a macro of its own: the macro's line, or undef
sub word_macro {
	my ($word, $page) = @_;
	my ($open, $core, $close);
	if ($word =~ m{^([("]*)(<kthread/\w+\.h>)(.*)$} || $word =~ /^([("]*)([A-Za-z_]\w*\(\)|[A-Za-z_][\w-]*\(\d\))(.*)$/) {
		($open, $core, $close) = ($1, $2, $3);
	} else {
		return;
	}
	my $macro;
	if ($core =~ m{^<(.*)>$}) {
		$macro = "In $1";
	} elsif ($core =~ /^([\w-]+)\((\d)\)$/) {
		$macro = "Xr $1 $2";
	} else {
		$core =~ s/\(\)$//;
		my $other = $page_of{$core};
		$macro = $other && $other != $page ? "Xr $core 3" : "Fn $core";
	}
	my $tail = '';
	if ($close =~ /^[).,;:?!\]]*$/) {
		$tail .= " $_" for split //, $close;
	} else {
		$close =~ s/"/\\(dq/g;
		$tail = " Ns $close";
	}
	$open =~ s/"/\\(dq/g;
	my $head = $open eq '' ? '' : "Pf $open ";
	return ".$head$macro$tail";
}

# A paragraph: lines of text, filled, with a line for each sentence and each macro
sub text {
	my ($text, $page) = @_;
	my ($out, $line) = ('', '');
	my $flush = sub {
		return if $line eq '';
		$line =~ s/^([.'])/\\&$1/;
		$out .= "$line\n";
		$line = '';
	};
	for my $sentence (sentences($text)) {
		for my $word (split ' ', $sentence) {
			my $macro = word_macro(escape($word), $page);
			if (defined $macro) {
				$flush->();
				$out .= "$macro\n";
				next;
			}
			$word = escape($word);
			$word =~ s/(^|[("])-(?=\w)/$1\\-/g;
			$flush->() if length($line) + length($word) > 78;
			$line .= $line eq '' ? $word : " $word";
		}
		$flush->();
	}
	return $out;
}

sub literal {
	my @lines = @_;
	my $least = 99;
	for (@lines) {
		$least = length $1 if /^(\s*)\S/ && length $1 < $least;
	}
	my $out = ".Bd -literal -offset indent\n";
	for my $line (@lines) {
		my $text = escape(length $line >= $least ? substr $line, $least : '');
		$text =~ s/^([.'])/\\&$1/;
		$out .= "$text\n";
	}
	return "$out.Ed\n";
}

# Lines of "word   what it means", with all meanings in one column -> [table, [word, meaning], ...]
sub table {
	my ($column, @rows);
	for my $line (@_) {
		if ($line =~ /^(\s*(\S+(?: \S+)*) {2,})(\S+(?: \S+)*)$/ && $line !~ /--/) {
			$column //= length $1;
			return if $column != length $1;
			push @rows, [ $2, $3 ];
		} elsif (@rows && $line =~ /^(\s*)(\S+(?: \S+)*)$/ && length $1 >= $column) {
			$rows[-1][1] .= " $2";
		} else {
			return;
		}
	}
	return @rows > 1 ? [ 'table', @rows ] : undef;
}

# The lines of a comment -> blocks: [text, "..."], [list, "...", ...], [table, [...], ...], [literal, line, ...]
sub blocks {
	my @blocks;
	my @lines = @{ $_[0] };
	while (@lines) {
		if ($lines[0] eq '') {
			shift @lines;
		} elsif ($lines[0] =~ /^\s*- /) {
			my @items;
			while (@lines && $lines[0] =~ /^\s*(- )?(\S.*)/) {
				if ($1) {
					push @items, $2;
				} else {
					$items[-1] .= " $2";
				}
				shift @lines;
			}
			push @blocks, [ 'list', @items ];
		} elsif ($lines[0] =~ /^\s{2,}/) {
			my @some;
			while (@lines && ($lines[0] =~ /^\s{2,}/ || $lines[0] eq '' && @lines > 1 && $lines[1] =~ /^\s{2,}/)) {
				push @some, shift @lines;
			}
			push @blocks, table(@some) || [ 'literal', @some ];
		} else {
			my @some;
			push @some, shift @lines while @lines && $lines[0] =~ /^\s?[^\s-]|^\s?-(?! )/;
			push @blocks, table(@some) || [ 'text', join ' ', @some ];
		}
	}
	return @blocks;
}

# ---- what a comment says of results ---------------------------------------------------------------------------------

my $error = qr/-?E[A-Z0-9]{2,}/;
my %usual = (
	E2BIG => 'Fields that this version does not know are set.',
	EAGAIN => 'No more threads can be made.',
	ECHILD => 'In the child of a fork, where the library has not been started anew.',
	EDEADLK => 'The call would wait for its caller.',
	EINVAL => 'An argument is invalid.',
	EMFILE => 'The process has too many open files.',
	ENFILE => 'The system has too many open files.',
	ENOMEM => 'No memory.',
	EOPNOTSUPP => 'Not for this kind of thread.',
	ESRCH => 'The thread has ended.',
);

sub strerror {
	my ($name) = @_;
	my $number = Errno->can($name) or return '';
	local $! = $number->();
	return "$!.";
}

# An enumeration of errors -> (what stands before it, [[names], why], ..., and what is no error), or nothing
sub enumeration {
	my ($sentence) = @_;
	(my $body = $sentence) =~ s/\.$//;
	my ($head, @items, @rest) = ('');
	if ($body =~ /^(NULL (?:with|and) errno): *(.*)$/) {
		($head, $body) = ('On failure NULL, and errno is set.', $2);
		@items = split_outside($body, qr/;\s+/);
		@items = split_outside($body, qr/,\s+/) if @items == 1;
	} else {
		@items = split_outside($body, qr/;\s+/);
		return if !grep { /^(?:[^();]*: )?-E[A-Z0-9]{2,}/ } @items;
		if ($items[0] =~ /^([^();]*): (-E.*)$/) {
			$head = "$1:";
			$items[0] = $2;
		}
		@items = map { /^-E\w+(?:, -E\w+)* [^,(]/ ? split_outside($_, qr/,\s+(?=-E)/) : $_ } @items;
	}
	my @errors;
	for my $item (@items) {
		$item =~ s/^(?:or|and) //;
		if ($item =~ /^($error(?:(?:, | or )$error)*)\b,?\s*(.*)$/s) {
			my ($names, $why) = ($1, $2);
			$why =~ s/^\((.*)\)$/$1/ if $why =~ /^\([^()]*(?:\([^()]*\)[^()]*)*\)$/;
			push @rest, $1 if $why =~ s/^or (what .*)$//s;
			my @names = $names =~ /E[A-Z0-9]+/g;
			push @errors, $why eq '' ? map { [ [$_], '' ] } @names : [ \@names, $why ];
		} elsif (!@errors) {
			$head .= ($head eq '' ? '' : '; ') . $item;
		} else {
			push @rest, $item;
		}
	}
	return if @errors < 2 && $sentence =~ /^[^();]*: -E/ && $sentence !~ /;/; # what is refused, within the text
	return ($head, \@errors, \@rest);
}

# -> { description, returns, errors, source }, of one comment
sub digest {
	my ($comment) = @_;
	my %digest = (description => [], returns => [], errors => [], rest => [], source => '');
	for my $block (blocks($comment->{lines})) {
		if ($block->[0] ne 'text') {
			push @{ $digest{description} }, $block;
			next;
		}
		my ($kept, $last) = ('', '');
		for my $sentence (sentences($block->[1])) {
			my ($head, $errors, $rest) = enumeration($sentence);
			if ($sentence =~ s/^Source: //) {
				$digest{source} = $sentence;
				$last = 'source';
			} elsif ($errors && @$errors) {
				if ($head =~ /^(0|)$/) {
					push @{ $digest{returns} }, '0, or a negative errno.' if $head eq '0';
				} else {
					$head .= '.' if $head !~ /[.:]$/; # "Before anything is called:"
					push @{ $digest{returns} }, $head;
				}
				push @{ $digest{errors} }, @$errors;
				push @{ $digest{rest} }, @$rest;
				$last = 'errors';
			} elsif ($sentence =~ /^(?:0[ ,;:.]|> 0 |True\b|False\b|NULL (?:for|if|outside|when|where)\b|Returns (?!once|when|after)|Nonzero |The fd[ ;])/) {
				push @{ $digest{returns} }, $sentence;
				$last = 'returns';
			} elsif ($last eq 'errors' && $sentence =~ /^After /) {
				push @{ $digest{returns} }, $sentence;
			} else {
				$kept .= ($kept eq '' ? '' : ' ') . $sentence;
			}
		}
		push @{ $digest{description} }, [ 'text', $kept ] if $kept ne '';
	}
	return \%digest;
}

# The first sentence, as a NAME wants it
sub summary {
	my ($comment, $what, $brief) = @_;
	my ($first) = blocks($comment->{lines});
	my $text = $first && $first->[0] eq 'text' ? (sentences($first->[1]))[0] : '';
	$text =~ s/^(?:libkthread|ktask|Self)[^:]*:\s*//;
	($text) = split_outside($text, $brief ? qr/[:;](?:\s+|$)/ : qr/;\s+/);
	$text =~ s/\s+(\((?:[^()]++|(?1))*\))//g; # asides
	$text =~ s/[.\s]+$//;
	if ($text !~ /^[A-Za-z]/ || $text =~ /^(?:The same|NULL|True|False|Returns|As)\b/ || length $text > 200) {
		warn "$comment->{where}: the first sentence about $what does not say what it is: \"$text\"\n";
		$faults++;
	}
	return $text =~ /^[A-Z][a-z]/ || $text =~ /^A / ? lcfirst $text : $text;
}

# ---- a page -----------------------------------------------------------------------------------------------------------

sub names_text {
	my ($page, @items) = @_;
	my @names = map { ($_->{kind} eq 'function' ? 'Fn ' : $_->{kind} eq 'macro' ? 'Dv ' : 'Vt ') . $_->{name} } @items;
	return '.' . join(' , ', @names) . "\n";
}

sub synopsis {
	my ($page) = @_;
	my $out = '';
	for my $item (grep { $_->{kind} eq 'object' } @{ $page->{items} }) {
		$out .= ".Vt $item->{text} ;\n";
	}
	for my $item (grep { $_->{kind} eq 'function' } @{ $page->{items} }) {
		$out .= ".Ft \"$item->{result}\"\n.Fo $item->{name}\n";
		$out .= ".Fa \"$_\"\n" for @{ $item->{parameters} };
		$out .= ".Fc\n";
	}
	return $out;
}

sub tags {
	my ($page, @rows) = @_;
	my $out = ".Bl -tag -width Ds\n";
	for my $row (@rows) {
		(my $word = escape($row->[0])) =~ s/"/""/g;
		$out .= ".It Li \"$word\"\n" . text($row->[1], $page);
	}
	return "$out.El\n";
}

sub description {
	my ($page, $digest) = @_;
	my $out = '';
	for my $block (@{ $digest->{description} }) {
		my ($kind, @parts) = @$block;
		if ($kind eq 'text') {
			$out .= ($out eq '' ? '' : ".Pp\n") . text($parts[0], $page);
		} elsif ($kind eq 'literal') {
			$out .= literal(@parts);
		} elsif ($kind eq 'table') {
			$out .= tags($page, @parts);
		} else {
			$out .= ".Bl -bullet\n";
			$out .= ".It\n" . text($_, $page) for @parts;
			$out .= ".El\n";
		}
	}
	return $out;
}

# What is said of the members of a struct or enum, before or behind them -> [[name, text], ...]
sub members {
	my ($body) = @_;
	my ($ahead, @members) = ('');
	while ($body =~ m{\G\s*(?:(/\*.*?\*/)|([^;,/]+(?:\([^)]*\)[^;,/]*)*[;,]?))([^\n]*?(?=/\*|\n|\z))?}gs) {
		my ($comment, $declaration) = ($1, $2);
		if (defined $comment) {
			my $behind = @members && $members[-1][2] == 0 && substr($body, 0, $-[1]) !~ /\n\s*$/;
			my $text = join ' ', grep { $_ ne '' } @{ comment_lines(join "\n", map { s/^\s*(?=\*)/ /r } split /\n/, $comment) };
			$text =~ s/\s+/ /g;
			if ($behind) {
				$members[-1][1] .= ($members[-1][1] eq '' ? '' : ' ') . $text;
				$members[-1][2] = 1;
			} else {
				$ahead = $text;
			}
		} elsif ($declaration =~ /\(\*(\w+)\)/ || $declaration =~ /(\w+)\s*(?:\[[^\]]*\])?(?:\s*=[^;,]*)?\s*[;,]?\s*$/) {
			push @members, [ $1, $ahead, 0 ];
			$ahead = '';
		}
	}
	return grep { $_->[1] ne '' } @members;
}

sub types {
	my ($page, @items) = @_;
	my $out = '';
	for my $item (@items) {
		my $text = $item->{text};
		my @members;
		if ($text =~ /\{(.*)\}/s && $item->{kind} ne 'macro') {
			@members = members($1);
			$text =~ s{[ \t]*/\*.*?\*/}{}gs;
			$text =~ s{\n\s*(?=\n)}{}g;
			$text =~ s{(?<=\S) {2,}(?=\S)}{ }g;
		}
		$text =~ s/\t/    /g;
		$out .= literal(split /\n/, $text);
		$out .= tags($page, @members) if @members;
	}
	return $out;
}

# A page's sections are its blocks: a comment, and what is declared under it
sub sections {
	my ($page) = @_;
	my @sections;
	for my $stanza (@{ $page->{stanzas} }) {
		my $section;
		for my $item (@$stanza) {
			if ($item->{kind} eq 'comment') {
				if ($section && !@{ $section->{items} }) { # two in a row: one text
					$section->{comment} = { %{ $section->{comment} },
						lines => [ @{ $section->{comment}{lines} }, '', @{ $item->{lines} } ] };
				} else {
					push @sections, $section = { comment => $item, items => [] };
				}
			} else {
				push @sections, $section = { items => [] } if !$section;
				push @{ $section->{items} }, $item;
			}
		}
	}
	return @sections;
}

sub render {
	my ($page) = @_;
	my @sections = sections($page);
	my ($what, $returns, $errors, $source) = ('', '', '', '');
	my @said = grep { $_->{digest} && (@{ $_->{digest}{returns} } || @{ $_->{digest}{errors} }) }
	    map { $_->{digest} = digest($_->{comment}) if $_->{comment}; $_ } @sections;
	my $first = 1;
	for my $section (@sections) {
		my $digest = $section->{digest};
		my @items = @{ $section->{items} };
		my @shown = grep { $_->{kind} =~ /^(type|macro|constants)$/ } @items;
		my @titles = grep { $_->{kind} ne 'constants' } @items;
		if ($digest) {
			my $text = description($page, $digest);
			$text = text('See below for what it returns.', $page) if $text eq '';
			if (!$first && @titles) {
				$what .= ".Pp\n" . names_text($page, @titles) . ".Pp\n";
			} elsif (!$first) {
				$what .= ".Pp\n";
			}
			$what .= $text;
			$source .= ($source eq '' ? "Source:\n" : ".Pp\nSource:\n") . text($digest->{source}, $page)
			    if $digest->{source} ne '';
		}
		$what .= types($page, @shown) if @shown;
		$first = 0;
	}
	for my $section (@said) {
		my $digest = $section->{digest};
		my @titles = grep { $_->{kind} eq 'function' } @{ $section->{items} };
		my $title = (@said > 1 || $section != $sections[0]) && @titles ? names_text($page, @titles) : '';
		$title =~ s/\n/ :\n/;
		if (@{ $digest->{returns} }) {
			$returns .= ".Pp\n" if $returns ne '';
			$returns .= $title . text(join(' ', @{ $digest->{returns} }), $page);
		}
		next if !@{ $digest->{errors} };
		$errors .= ".Pp\n" if $errors ne '';
		$errors .= $title . ".Bl -tag -width Er\n";
		for my $item (@{ $digest->{errors} }) {
			my ($names, $why) = @$item;
			$errors .= @$names == 1 ? ".It Bq Er $names->[0]\n" : '.It Bo ' . join(' , ', map { "Er $_" } @$names) . " Bc\n";
			$why = join ' ', map { $usual{$_} // strerror($_) } @$names if $why eq '';
			$errors .= text($why . ($why =~ /[.]$/ ? '' : '.'), $page) if $why ne '';
		}
		$errors .= ".El\n";
		$errors .= ".Pp\n" . text('Also: ' . join('; ', @{ $digest->{rest} }) . '.', $page) if @{ $digest->{rest} };
	}
	my @names = @{ $page->{names} };
	my $out = ".\\\" SPDX-License-Identifier: MIT\n.\\\" Made of include/kthread/$page->{header}, which is the place to change it.\n";
	$out .= ".Dd $dd\n.Dt \U$names[0]\E 3\n.Os libkthread $version\n.Sh NAME\n";
	$out .= join(" ,\n", map { ".Nm $_" } @names) . "\n.Nd $page->{summary}\n";
	$out .= ".Sh LIBRARY\nlibkthread\n.Pq \\-lkthread\n" . ".Sh SYNOPSIS\n.In kthread/$page->{header}\n" . synopsis($page);
	$out .= ".Sh DESCRIPTION\n$what";
	if ($page->{contents}) {
		$out .= ".Ss $page->{contents_title}\n.Bl -tag -width Ds\n";
		for my $other (@{ $page->{contents} }) {
			next if $other == $page;
			$out .= '.It ' . join(' , ', map { "Xr $_ 3" } @{ $other->{names} }) . "\n" . text(ucfirst($other->{summary}) . '.', $page);
		}
		$out .= ".El\n";
	}
	$out .= ".Sh RETURN VALUES\n$returns" if $returns ne '';
	$out .= ".Sh ERRORS\n$errors" if $errors ne '';
	my %also = map { $_ => 1 } "$out\n" =~ /\bXr ([\w-]+ \d)/g;
	$also{'kthread 3'} = $also{'kthread 7'} = $also{ $page->{overview}{names}[0] . ' 3' } = 1;
	delete $also{"$_ 3"} for @names, @{ $page->{contents} ? [ map { @{ $_->{names} } } @{ $page->{contents} } ] : [] };
	my @also = sort { (split ' ', $a)[1] <=> (split ' ', $b)[1] || $a cmp $b } keys %also;
	$out .= ".Sh SEE ALSO\n" . join(" ,\n", map { ".Xr $_" } @also) . "\n";
	$out .= ".Sh HISTORY\n$source" if $source ne '';
	return $out;
}

# ---- all of them ------------------------------------------------------------------------------------------------------

my @overviews;
for my $file (@headers) {
	(my $header = $file) =~ s{.*/}{};
	next if $header eq 'export.h';
	my ($opening, @stanzas) = read_header($file);
	$opening or die "$file: has no opening comment\n";
	(my $base = $header) =~ s/\.h$//;
	my $title = $base =~ /^k(?:thread|task)$/ ? $base : "kthread_$base";
	my $overview = { header => $header, names => [$title], items => [], stanzas => [ [$opening] ],
		summary => summary($opening, $header, 0), contents => [], contents_title => 'Contents' };
	$overview->{overview} = $overview;
	push @overviews, $overview;
	push @pages, $overview;
	$page_of{$title} = $overview;
	for my $group (groups(@stanzas)) {
		my @items = map { @$_ } @$group;
		my ($comment) = grep { $_->{kind} eq 'comment' } @{ $group->[0] };
		my $private = 0;
		my (@names, @last);
		for my $item (@items) { # functions first, then types, then what is private
			$private = $item->{lines}[0] =~ /^Private\b/ if $item->{kind} eq 'comment';
			next if !named($item);
			if ($private && $item->{name} eq 'kthread_noticed' || $item->{kind} eq 'object') {
				push @last, $item;
			} elsif ($item->{kind} eq 'function') {
				splice @names, scalar(grep { $_->{kind} eq 'function' } @names), 0, $item;
			} else {
				push @names, $item;
			}
		}
		my %seen;
		my @titles = grep { !$seen{$_}++ } map { $_->{name} } @names, @last;
		my $page = $page_of{ $titles[0] };
		if ($page) { # a struct and its function, or what is called as the header is
			push @{ $page->{stanzas} }, @$group;
		} else {
			$page = { header => $header, names => [], items => [], stanzas => $group, overview => $overview,
				summary => summary($comment, $titles[0], 1) };
			push @pages, $page;
			push @{ $overview->{contents} }, $page;
		}
		for my $name (@titles) {
			die "$comment->{where}: $name is on another page already\n" if $page_of{$name} && $page_of{$name} != $page;
			push @{ $page->{names} }, $name if !$page_of{$name};
			$page_of{$name} = $page;
		}
		push @{ $page->{items} }, @items;
	}
}
if (my $umbrella = $page_of{kthread}) {
	$umbrella->{contents} = [ grep { $_ != $umbrella } @overviews ];
	$umbrella->{contents_title} = 'The headers';
}

exit 1 if $faults;
if (-d $directory) {
	opendir my $old, $directory or die "$directory: $!\n";
	unlink map { "$directory/$_" } grep { /\.3$/ } readdir $old;
	closedir $old;
} else {
	mkdir $directory or die "$directory: $!\n";
}
for my $page (@pages) {
	my ($first, @others) = @{ $page->{names} };
	open my $out, '>', "$directory/$first.3" or die "$directory/$first.3: $!\n";
	print $out render($page);
	close $out or die "$directory/$first.3: $!\n";
	symlink "$first.3", "$directory/$_.3" or die "$directory/$_.3: $!\n" for @others;
}
