"""How words, signs and emoji weigh: the hand-written lexicon that `rules.py` counts with. Data only, pure.

Ours, English first, with the commonest words of German, Spanish and French. A list holds base forms; `rules.py` takes
endings off. Words that mean nothing by themselves in a support chat ("problem", "cancel", "late", "charge") weigh
little: most people who write them are asking, not complaining.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STRONG_POSITIVE = _words(
    """
    adore adorable amazing amazed astonishing awesome beautiful beautifully best blast blessed blessing blissful breathtaking
    brilliant brilliantly celebrate charming congrats congratulation congratulations cracking dazzling delicious delight
    delighted delightful divine ecstatic elated epic excellent excellence exceptional exceptionally excited excitement exciting
    exquisite fabulous fantastic fantastically favorite favourite first-rate flawless flawlessly gem genius glorious gorgeous
    grateful heavenly hilarious hooray hurrah impeccable impressed impressive incredible incredibly joy joyful legend legendary
    love lovely loveliest luxurious magnificent magnificently marvellous marvelous masterpiece mesmerizing outstanding
    overjoyed paradise perfect perfection perfectly phenomenal praise remarkable remarkably sensational spectacular splendid
    stellar stunning stunningly sublime superb superbly superior supreme terrific thrill thrilled thrilling top-notch treasure
    triumph unbeatable unforgettable woohoo wonderful wonderfully wow yay yippee yummy
    """
)
POSITIVE = _words(
    """
    accomplish accurate accurately achieve adequate admire advantage affordable agreeable amuse amused amusing appealing
    appreciate appreciated appreciation approve attentive attractive bargain benefit beneficial better bless bonus brave bravo
    breeze bright calm captivating caring cheap cheer cheerful cheers clarity classy clean clear clever comfort comfortable
    comfortably comfy compelling competent compliment considerate convenient conveniently convinced cool cosy courteous cozy
    creative crisp cute dependable deserve durable eager easily easy effective effectively efficient efficiently effortless
    effortlessly elegant encourage encouraging energetic engaging enjoy enjoyable enjoyed enthusiastic entertaining fair faithful
    fast favorable favourable fine flexible fresh friendly fun funny generous gentle glad gladly good goodness gracious
    great greatly handy happily happiness happy haha hearty helpful helpfully high-quality honest hope hopeful hot hug immaculate
    improve improved improvement inexpensive innovative insightful inspire inspired inspiring intelligent interesting intuitive
    inventive kind kindly kindness kudos laugh lightweight like liked lively lol loyal luck luckily lucky memorable mint
    neat neatly nice nicely nifty nostalgic optimistic painless patient peaceful pleasant pleasantly please pleased pleasure
    polished polite politely popular portable positive powerful practical precise pretty pro professional professionally prompt
    promptly proper proud quality quick quickly quiet reasonable reassuring recommend recommended refreshing relax relaxed
    relaxing relief relieved reliable reliably resolved respect respectful responsive rewarding rich right robust romantic safe
    satisfaction satisfied satisfy satisfying seamless seamlessly secure sharp silky simple skillful sleek smart smile smiling
    smooth smoothly snappy soft solid solved soothing spacious sparkling speedy spotless stable sturdy stylish succeed success
    successful successfully suitable super support supportive sweet swift swiftly talented tasty tender thank thankful thanks
    thankyou thorough thoroughly thoughtful thx tidy timely top treat trust trusted trustworthy truthful ty upbeat upgrade
    useful user-friendly valuable value versatile vibrant victory warm welcome welcoming well well-made win winner winning
    witty won wonder worked working works worth worthwhile worthy yes yeah
    danke dankeschön super toll prima klasse gut gute guter gutes schön wunderbar perfekt zufrieden begeistert freundlich schnell
    empfehlenswert liebe freue hilfreich ausgezeichnet hervorragend genial
    gracias bueno buena bien excelente genial perfecto perfecta encanta encantado feliz contento contenta maravilloso maravillosa
    estupendo fantástico rápido amable recomiendo útil mejor
    merci bon bonne bien excellent génial parfait parfaite adore heureux heureuse content contente magnifique formidable rapide
    aimable recommande utile meilleur satisfait satisfaite ravi ravie
    """
)
STRONG_NEGATIVE = _words(
    """
    abhor abominable abuse abusive abysmal agony appalled appalling arsehole asshole atrocious awful awfully bastard bitch
    bogus bullshit catastrophe catastrophic crap crappy cruel damn despicable despise detest devastated devastating dire disaster
    disastrous disgrace disgraceful disgust disgusted disgusting dreadful enraged evil excruciating fraud fraudulent fuck fucked
    fucking fuming furious garbage ghastly hate hated hateful hatred heartbreaking heartbroken hell hellish hideous horrendous
    horrible horribly horrid horrific horrified horrifying horror idiot idiotic infuriate infuriated infuriating insane joke
    livid loathe loathsome ludicrous lousy miserable misery moron nightmare outrage outraged outrageous pathetic pissed pitiful
    rage repulsive revolting ridiculous rip-off ripoff rubbish scam scammed scammer scandalous shame shameful shit shitty
    sickening stinks stupid suck sucked sucks terrible terribly terrified terrifying thief thieves torture trash tragedy tragic
    traumatic ugliest unacceptable unbearable unforgivable unusable useless vile worst worthless wtf
    """
)
NEGATIVE = _words(
    """
    abandon absurd ache afraid aggravating aggressive agitated alarm alarming alone anger angry annoy annoyance annoyed annoying
    anxious apathetic arrogant ashamed avoid awkward bad badly beg bent blame bland bleak bleeding blurry bored boredom boring
    bother bothered bothersome break breaking broke broken bug buggy bugs bulky burn bust cheated cheating cheaply choppy clueless
    clumsy clunky cold complain complained complaint complicated confuse confused confusing corrupt costly cracked cramped crash
    crashed crashes crashing crazy creepy cried cringe cripple crying cry cumbersome curse damaged damage dangerous dead
    dead-on-arrival deceived deceptive defect defective deficient delay delayed denied depressed depressing deprived desperate
    deteriorate die died difficult dirty disabled disagree disappoint disappointed disappointing disappointment disconnect
    discouraged dishonest dislike disliked dismal displeased disrespectful dissatisfied dissatisfaction distressing disturb
    disturbed disturbing doubt doubtful downgrade drag drain dread dull dumb dysfunctional embarrassed embarrassing empty error
    excuse excuses exhausted exhausting expensive faded fail failed failing fails failure fake false faulty fear fed-up filthy
    fishy flaky flaw flawed flimsy flop fool forgot fragile freeze freezes freezing frightened frustrate frustrated
    frustrating frustration gimmick glitch glitches glitchy greedy grief grim gross grumpy guilty half-baked hang harass harm harsh
    haunt headache hectic helpless hesitant hopeless hostile humiliated humiliating hurt hurts hurting hyped ignorant
    ignore ignored ill impatient impolite impossible impractical inaccurate inadequate incompetent incomplete inconsistent
    inconvenience inconvenient incorrect ineffective inefficient inexcusable inferior insecure insult insulted insulting intrusive
    irrelevant irresponsible irritate irritated irritating issue itch jealous jerk junk killed killing lack lacking lacks lag
    laggy lags lame laughable lazy leak leaked leaking leaks letdown liar lied lies lonely lose losing loser loss lost mad
    malfunction mean mediocre meh mess messed messy misleading miss missed missing mistake mistaken mourn moody neglect
    neglected negligent nervous nobody noisy nonsense obnoxious obsolete odd offended offensive outdated overcharged overheat
    overheated overheats overpriced overrated overwhelmed overwhelming pain painful painfully panic paranoid peeling pity
    pointless poor poorly pricey problem problematic prick puke racist redundant refuse refused refuses regret rejected reject
    resent ripped rotten rough rude rudely ruin ruined rushed rusty sad sadden saddened sadly sadness scared scary screwed
    selfish shabby shaken shallow shocked shocking shoddy sick sigh skeptical slow slowly sluggish smell smelly smh sob sore sorrow
    sorrowful sorry sour spam spoiled stale stink stinking stolen strange stress stressed stressful struggle struggling stuck
    stuffy subpar suffer suffered suffering suspicious tacky tasteless tear tears tedious tense threat threatened tired tiresome
    tiring torn toxic troubled troubling trouble ugh ugly unable unauthorized uncomfortable uncooperative unethical unfair
    unfortunate unfortunately unfriendly unhappy unhelpful unimpressed uninspired uninteresting unjust unlucky unpleasant
    unprofessional unreasonable unreliable unresponsive unsafe unsatisfied unstable unsure untrustworthy unwanted unwelcome
    unworthy upset upsetting vague vain victim violent wack warped waste wasted wasting weak weakness weep weird whine wicked
    wobbly worn worried worries worry worrying worse wound wrecked wrong wrongly yuck yikes
    schlecht schlechte schlechter schlechtes furchtbar schrecklich katastrophe kaputt defekt enttäuscht enttäuschend
    unverschämt unzumutbar ärgerlich wütend sauer traurig langsam unzufrieden frechheit mist scheiße nie leider
    malo mala mal peor terrible horrible pésimo pésima roto rota enfadado enfadada triste lento inútil decepcionado decepcionada
    vergüenza estafa odio asco fatal
    mauvais mauvaise mal pire horrible affreux nul nulle cassé cassée fâché fâchée triste lent inutile déçu déçue honte arnaque
    déteste inacceptable insupportable
    """
)
LITTLE = _words(
    """
    alarm beg better bother break clean clear cold cool cry dead die difficult error excuse fair fast fine fun
    hope hot issue kind lack like lol lose loss lost mean miss missed missing mistake odd patient please popular pretty
    pro problem quality quick refuse rejected denied declined right safe secure simple smart soft sorry stolen strange support
    sweet top treat trouble trust upgrade value warm welcome well win wonder work worked working works worth wrong yeah
    yes unable unsure value failed fail forgot nobody leider nie stuck delay delayed rich delete dispute won super
    """
)
"""Words of the lists above that say little by themselves: they count a third."""

NEGATIONS = _words(
    """
    no not never nothing none nobody neither nor without hardly barely scarcely can't cannot cant couldn't couldnt didn't
    didnt doesn't doesnt don't dont isn't isnt wasn't wasnt aren't arent weren't werent won't wont wouldn't wouldnt shouldn't
    shouldnt haven't havent hasn't hasnt hadn't hadnt ain't aint
    nicht kein keine keinen nie niemals nunca jamás ni pas jamais aucun aucune
    """
)
STRENGTHENING = _words(
    """
    absolutely amazingly completely deeply enormously entirely especially exceptionally extremely fully genuinely highly
    hugely incredibly insanely intensely most particularly purely quite really remarkably seriously sincerely so such super
    thoroughly too totally tremendously truly unbelievably utterly very way
    sehr wirklich total absolut muy tan très vraiment trop
    """
)
WEAKENING = _words(
    """
    almost barely bit fairly hardly kinda kind-of less little marginally occasionally partly relatively slightly somewhat
    sort-of sorta etwas poco peu
    """
)
TURNS = frozenset(["but", "however", "though", "although", "yet", "except", "aber", "pero", "mais"])
"""What follows one of these weighs more than what stands before it."""

POSITIVE_SIGNS = frozenset(
    "😀😃😄😁😆😅🤣😂🙂😉😊😇🥰😍🤩😘😗😚😙😋😜🤗🤭😎🥳👍👏🙌🙏💪❤🧡💛💚💙💜🖤💕💖💗💘💝💞💯🔥✨🎉🎊🌟⭐☀🌞🎁😻🤝👌✌🏆💐🌹🥂♥"
)
NEGATIVE_SIGNS = frozenset("😞😔😟😕🙁☹😣😖😫😩🥺😢😭😤😠😡🤬😳😱😨😰😥😓🤔😒🙄😬🤥😷🤒🤕🤢🤮💔👎😾🖕💩😑😐😪😵🥴🤦")
POSITIVE_FACES = frozenset(
    [":)", ":-)", ":d", ":-d", ";)", ";-)", "=)", ":]", ":p", "xd", "<3", "^^", "(:", ":')", "=d", "\\o/"]
)
NEGATIVE_FACES = frozenset(
    [":(", ":-(", ":'(", ":/", ":-/", ":\\", "=(", ":[", "</3", "):", ">:(", "-_-", ":|", "d:", ":s"]
)
