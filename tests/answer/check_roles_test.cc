#include "answer/check_roles.h"

#include <gtest/gtest.h>

#include "answer/check.h"
#include "answer/fakes.h"

namespace fathom::answer {
namespace {

struct Pair {
  bool holds;
  const char* claim;
  const char* post;
};

// Invented posts. A claim that follows only by thinking is a "no" here: the check knows words, not the world.
constexpr Pair kPairs[] = {
    // The part and the whole.
    {false, "9,000 homes in East Varnholm have power again.",
     "5,100 of 9,000 homes in East Varnholm have power again."},
    {true, "5,100 homes in East Varnholm have power again.",
     "5,100 of 9,000 homes in East Varnholm have power again."},
    {true, "5,100 of 9,000 homes in East Varnholm have power again.",
     "5,100 of 9,000 homes in East Varnholm have power again."},
    {false, "40 buses in Merrin run again.", "12 out of 40 buses in Merrin run again."},
    {true, "12 buses in Merrin run again.", "12 out of 40 buses in Merrin run again."},
    {false, "30 schools in Osk closed.", "7 of the 30 schools in Osk closed."},
    // What it was and what it is.
    {false, "The fare in Tolla rose to 4 crowns.", "The fare in Tolla rose from 4 crowns to 6 crowns."},
    {true, "The fare in Tolla rose to 6 crowns.", "The fare in Tolla rose from 4 crowns to 6 crowns."},
    {false, "18 people are missing in Dorrit.", "23 people are missing in Dorrit, up from 18."},
    {true, "23 people are missing in Dorrit.", "23 people are missing in Dorrit, up from 18."},
    {false, "91 people died in the Kestrel storm.", "24 people died in the Kestrel storm, not 91."},
    {true, "24 people died in the Kestrel storm.", "24 people died in the Kestrel storm, not 91."},
    {false, "15 engines are at the fire.", "Now 20 engines are at the fire, earlier 15 engines."},
    {true, "20 engines are at the fire.", "Now 20 engines are at the fire, earlier 15 engines."},
    {false, "The ferry carried 80 passengers.", "The ferry carried 60 passengers instead of 80."},
    {true, "The ferry carried 60 passengers.", "The ferry carried 60 passengers instead of 80."},
    // Bounds.
    {false, "The dam holds 300 tonnes of silt.", "The dam holds up to 300 tonnes of silt."},
    {true, "The dam holds up to 300 tonnes of silt.", "The dam holds up to 300 tonnes of silt."},
    {false, "More than 50 sheep escaped in Pell.", "50 sheep escaped in Pell."},
    {true, "50 sheep escaped in Pell.", "At least 50 sheep escaped in Pell."},
    // What is counted.
    {false, "17 people were killed in the barn fire.", "17 horses were killed in the barn fire."},
    {true, "17 people were killed in the barn fire.", "17 killed in the barn fire."},
    {false, "140 people were killed in Lund.", "3 people were killed and 140 injured in Lund."},
    {false, "The tower is 90 feet high.", "The tower is 90 metres high."},
    {false, "The bid is 44 dollars a share.", "The bid is 44 crowns a share."},
    // Who did it to whom.
    {false, "The Corrisande Grid affected 130,000 homes.",
     "Corrisande Grid: 130,000 homes are affected by the outage."},
    {true, "130,000 homes are affected by the outage.",
     "Corrisande Grid: 130,000 homes are affected by the outage."},
    {false, "Velis Rovers beat Harbour United.", "Harbour United beat Velis Rovers."},
    {false, "Velis Rovers lost to Harbour United.", "Harbour United lost to Velis Rovers."},
    {true, "Velis Rovers were beaten by Harbour United.", "Velis Rovers were beaten by Harbour United."},
    {false, "Harbour United were beaten by Velis Rovers.", "Velis Rovers were beaten by Harbour United."},
    {false, "The driver injured the cyclist in Arden.", "The cyclist injured the driver in Arden."},
    {true, "The cyclist injured the driver in Arden.", "In Arden the cyclist injured the driver."},
    {false, "Ostler bought Brellin Foods.", "Brellin Foods bought Ostler."},
    {true, "Brellin Foods bought Ostler.", "Ostler was bought by Brellin Foods."},
    {false, "The Fennick bank sued Mayor Tandry.", "Mayor Tandry sued the Fennick bank."},
    {true, "The blast killed 3 miners.", "3 miners killed in the blast."},
    // Denied.
    {false, "Mayor Tandry resigned.", "Mayor Tandry denied that she resigned."},
    {false, "The harbour bridge is closed.", "The harbour bridge is not closed."},
    {false, "The Orlo reactor leaked.", "The Orlo reactor never leaked."},
    {false, "The crew reached the Alma wreck.", "The crew failed to reach the Alma wreck."},
    {false, "The harbour bridge is not closed.", "The harbour bridge is closed."},
    {true, "The harbour bridge is not closed.", "The harbour bridge is not closed, police say."},
    {false, "Sharks swim in the Merrin canal.", "Sharks swim in the Merrin canal. This is a hoax."},
    // Not certain.
    {false, "A plane crashed at Osterfell.", "Rumour: a plane crashed at Osterfell."},
    {false, "A plane crashed at Osterfell.", "A plane crashed at Osterfell?"},
    {false, "A plane crashed at Osterfell.", "Did a plane crash at Osterfell?! Sirens everywhere."},
    {false, "A plane crashed at Osterfell.", "Unconfirmed: a plane crashed at Osterfell"},
    {false, "A plane crashed at Osterfell.", "A plane reportedly crashed at Osterfell."},
    {false, "The Wensel flooded the market.", "If the dam breaks, the Wensel flooded the market."},
    {false, "The Wensel floods the market.", "The Wensel could flood the market."},
    {false, "Dostane won the chess final.", "Dostane may have won the chess final."},
    {true, "Dostane may have won the chess final.", "Dostane may have won the chess final."},
    {true, "Dostane won the chess final in May.", "Dostane won the chess final in May."},
    {false, "Tarkvale cheated in the chess final.", "Dostane claims Tarkvale cheated in the chess final."},
    {false, "The mayor fixed every pothole in Lund.", "Yeah right, the mayor fixed every pothole in Lund."},
    // Not yet.
    {false, "The Stoneferry bridge opened.", "The Stoneferry bridge will open on Friday."},
    {true, "The Stoneferry bridge will open on Friday.", "The Stoneferry bridge will open on Friday."},
    {false, "The Stoneferry bridge will open.", "The Stoneferry bridge opened."},
    {false, "The Stoneferry bridge opened at 9 am.", "The Stoneferry bridge is expected to open at 9 am."},
    {false, "The Stoneferry bridge opened at 9 am.", "The Stoneferry bridge to open at 9 am."},
    {false, "The council banned scooters.", "The council plans a vote on scooters. Banned or not, we see."},
    // Another place, another time.
    {false, "A flood hit a school in Oslo.", "A fire hit a school in Oslo, a flood hit a mill in Bergen."},
    {false, "The train runs from Bergen to Oslo.", "The train runs from Oslo to Bergen."},
    {true, "The train runs from Oslo to Bergen.", "The train runs from Oslo to Bergen."},
    {false, "The gates closed before the match.", "The gates closed after the match."},
    {false, "The fire started at 10:00.", "The fire started at 09:00 and ended at 10:00."},
    // Two sentences are not one.
    {false, "Storm Alba killed 3 sailors.", "Storm Alba nears. A boat fire killed 3 sailors."},
    {false, "The mayor of Lund died.", "The mayor of Lund spoke at noon. A clown died."},
    // Which name has which part, whatever the verb.
    {false, "Okoro accused Velden of fraud.", "Velden accused Okoro of fraud."},
    {false, "Okoro outpolled Velden.", "Okoro was outpolled by Velden."},
    {true, "Okoro was outpolled by Velden.", "Velden outpolled Okoro."},
    {false, "Marsh owes Tolliver 40 crowns.", "Tolliver owes Marsh 40 crowns."},
    {false, "Marsh resigned.", "Tolliver, who succeeded Marsh, resigned."},
    {false, "Harrow was born in Ostra.", "Pell, a friend of Harrow, was born in Ostra."},
    {false, "Quist flew to Nyvik with Brandt's dog.", "Brandt flew to Nyvik with Quist's dog."},
    {false, "Harrow apologised.", "Harrow demanded that Pell apologised."},
    {false, "Merrin borders Lake Osk.", "Lake Osk borders Merrin and Tolla borders Lake Arn."},
    {true, "Tolla borders Lake Arn.", "Lake Osk borders Merrin and Tolla borders Lake Arn."},
    {false, "Dr Quist treated Ms Pell in Osk.", "Ms Pell treated Dr Quist in Osk."},
    {true, "Ms Pell treated Dr Quist in Osk.", "In Osk, Ms Pell treated Dr Quist yesterday."},
    {false, "The Arden court jailed a man from Osk.", "The Osk court jailed a man from Arden."},
    {true, "The fire in Lund closed a school.", "The Lund fire closed a school."},
    {false, "Tarek lent Juno a boat.", "Juno lent Tarek a boat."},
    {false, "Brellin supplies Ostler.", "Ostler, Brellin says, supplies nobody."},
    {false, "Silas follows Wanda as director.", "Wanda follows Silas as director."},
    {false, "Pell Rail is suing over a claim by Orlo Power.",
     "Orlo Power is suing over a claim by Pell Rail."},
    // The opposite.
    {false, "The pass closes before the storm.", "The pass closes after the storm."},
    {false, "The west gate is shut.", "The east gate is shut."},
    {false, "Water in Osk is down 4 cm.", "Water in Osk is up 4 cm."},
    {false, "The men's race starts at noon.", "The women's race starts at noon."},
    {true, "Water in Osk went up and down.", "Water in Osk went up and down."},
    // Invented words.
    {false, "The tragic flood closed the school.", "The flood closed the school."},
    {false, "The flood destroyed the school.", "The flood closed the school."},
    {false, "Brellin released the Mark 4 phone.", "Brellin announced the Mark 4 phone."},
    {false, "9,000 homes have a blackout.", "9,000 homes have power."},
};

class CheckRoles : public ::testing::TestWithParam<Pair> {};

TEST_P(CheckRoles, TellsTrueFromFalse) {
  const Pair& pair = GetParam();
  const Evidence post =
      prepare(testing::make_post("1", "portradio", "Port Radio", "2026-03-02T14:32:00Z", pair.post));
  const Support support = check_support(pair.claim, post);
  EXPECT_EQ(support.supported, pair.holds) << pair.claim << "\n" << pair.post << "\n" << support.reason;
}

INSTANTIATE_TEST_SUITE_P(Table, CheckRoles, ::testing::ValuesIn(kPairs));

}  // namespace
}  // namespace fathom::answer
