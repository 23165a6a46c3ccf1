"""The language of short texts, by script and common words."""

import pytest

from chatwright.domain.detection import common_words, script_of
from chatwright.domain.language import detect_language

SAID = {
    "en": "How long does the delivery take?",
    "de": "Wie lange dauert die Lieferung?",
    "fr": "Combien de temps prend la livraison ?",
    "es": "¿Cuánto tarda la entrega?",
    "it": "Quanto tempo richiede la consegna?",
    "pt": "Quanto tempo leva a entrega, e quem paga?",
    "nl": "Hoe lang duurt de levering?",
    "sv": "Hur lång tid tar det att få varan?",
    "pl": "Ile trwa dostawa i kto za nią płaci?",
    "cs": "Jak dlouho trvá doručení a kdo ho platí?",
    "ro": "Cât durează livrarea și cine plătește?",
    "hu": "Mennyi ideig tart a szállítás, és ki fizeti?",
    "tr": "Teslimat ne kadar sürer?",
    "fi": "Kuinka kauan toimitus kestää ja mitä se maksaa?",
    "vi": "Giao hàng mất bao lâu và ai trả tiền?",
    "id": "Berapa lama pengiriman dan siapa yang membayar?",
    "ru": "Сколько времени занимает доставка?",
    "uk": "Скільки часу займає доставка і хто її оплачує?",
    "ar": "كم يستغرق التوصيل؟",
    "fa": "تحویل کالا چه مدت طول می‌کشد؟",
    "ur": "ڈیلیوری میں کتنا وقت لگتا ہے؟",
    "hi": "डिलीवरी में कितना समय लगता है?",
    "zh": "送货需要多长时间？",
    "ja": "配達にはどのくらいかかりますか？",
    "ko": "배송은 얼마나 걸리나요?",
    "th": "การจัดส่งใช้เวลานานเท่าใด",
    "el": "Πόσο διαρκεί η παράδοση;",
    "he": "כמה זמן לוקח המשלוח?",
}


@pytest.mark.parametrize(("language", "text"), SAID.items())
def test_a_question_tells_its_language(language: str, text: str) -> None:
    assert detect_language(text) == language


@pytest.mark.parametrize("text", ["", "12 345", "AB-12", "Broncos 2015", "?!"])
def test_what_has_no_words_has_no_language(text: str) -> None:
    assert detect_language(text) is None


def test_names_in_other_letters_do_not_change_it() -> None:
    assert detect_language("谁是 Super Bowl 50 的 MVP？") == "zh"
    assert detect_language("Кто выиграл Super Bowl в этом году?") == "ru"


def test_a_script_is_that_of_most_letters() -> None:
    assert script_of("Привет, world") == "cyrillic"
    assert script_of("123") is None


def test_languages_without_a_list_have_no_common_words() -> None:
    assert common_words("xx") == common_words(None) == frozenset()
    assert "the" in common_words("en")
